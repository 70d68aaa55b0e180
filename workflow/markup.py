"""Markdown of plain texts, tables and contents, for the pages of the report."""

import re


def escaped(text: str) -> str:
    """Return Markdown that shows a text as it is written; `code` in it stays code."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part if part.startswith("`") else re.sub(r"[\\*_\[\]<|$#~]", r"\\\g<0>", part) for part in parts
    )


def table(head: list[str], rows: list[list[str]], numeric: range = range(0), kind: str = "") -> str:
    """Return a table of cells in Markdown, with the columns in `numeric` aligned right and a CSS class `kind`."""
    rule = ["---:" if column in numeric else "---" for column in range(len(head))]
    lines = "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))
    return f"```{{table}}\n:class: {kind}\n\n{lines}\n```\n" if kind else f"{lines}\n"


def contents(caption: str, pages: list[str]) -> str:
    """Return the part `caption` of the table of contents, which is shown beside every page."""
    options = f":caption: {caption}\n" if caption else ""
    return "\n".join([f"```{{toctree}}\n:hidden:\n{options}", *pages, "```\n"])
