"""The reference of the packages in src/: signatures, fields and docstrings, read from the files without importing them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from markup import contents, escaped, table

Function = ast.FunctionDef | ast.AsyncFunctionDef


def described(kind: str, heading: str, inner: str, option: str = "") -> str:
    """Return the Sphinx directive of a function or class, in a fence longer than those within."""
    fence = ":" * (1 + max(map(len, re.findall("^:{3,}", inner, re.MULTILINE)), default=2))
    return f"{fence}{{py:{kind}}} {heading}\n{option}\n\n{inner}\n{fence}\n"


def docstring(node: ast.Module | ast.ClassDef | Function) -> str:
    """Return the docstring as Markdown, in which a table stays one."""
    return escaped(ast.get_docstring(node) or "").replace(r"\|", "|")


def fields(nodes: list[ast.stmt], lines: list[str]) -> str:
    """Return the assignments to public names, with the comments beside them, as a block of code."""
    shown = []
    for node in nodes:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(node, ast.Assign | ast.AnnAssign) and not ast.unparse(target).startswith("_"):
            shown += [line[node.col_offset :] for line in lines[node.lineno - 1 : node.end_lineno]]
    return "\n".join(["```python", *shown, "```", ""]) if shown else ""


def qualify(tree: ast.Module, packages: set[str]) -> None:
    """Write the module before the classes from `packages` in annotations, for two modules may have one of the same name."""
    origin = {
        each.name: f"{node.module}.{each.name}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in packages
        for each in node.names
    }
    annotated = [node for node in ast.walk(tree) if isinstance(node, ast.arg | Function)]
    for node in annotated:
        annotation = node.annotation if isinstance(node, ast.arg) else node.returns
        for part in ast.walk(annotation) if annotation else ():
            if isinstance(part, ast.Name):
                part.id = origin.get(part.id, part.id)


def signature(function: Function, method: bool) -> str:
    """Return the name with the arguments, without `self`, and what is returned."""
    arguments = function.args
    if method and not any(ast.unparse(each) == "staticmethod" for each in function.decorator_list):
        first = arguments.posonlyargs or arguments.args
        first[:1] = []
    returned = f" -> {ast.unparse(function.returns)}" if function.returns else ""
    return f"{function.name}({ast.unparse(arguments)}){returned}"


def member(node: ast.stmt, lines: list[str], inside: bool = False) -> Iterator[str]:
    """Yield the description of a function, or of a class with its methods, if it is public."""
    if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
        return
    if isinstance(node, ast.ClassDef):
        inner = [docstring(node), fields(node.body, lines)]
        inner += [text for each in node.body for text in member(each, lines, inside=True)]
        bases = ", ".join(map(ast.unparse, node.bases))
        yield described("class", f"{node.name}({bases})" if bases else node.name, "\n\n".join(inner))
        return
    decorators = {ast.unparse(each).split("(")[0].split(".")[-1] for each in node.decorator_list}
    if decorators & {"property", "cached_property"}:
        kind = f":type: {ast.unparse(node.returns)}" if node.returns else ""
        yield described("property", node.name, docstring(node), kind)
    else:
        option = "\n".join(f":{each}:" for each in sorted(decorators & {"classmethod", "staticmethod"}))
        yield described("method" if inside else "function", signature(node, inside), docstring(node), option)


def page(name: str, path: Path, packages: set[str]) -> str:
    """Return the page of the module `name` in the file `path`; classes of `packages` are told apart by their modules."""
    text = path.read_text()
    tree, lines = ast.parse(text), text.splitlines()
    qualify(tree, packages)
    members = [each for node in tree.body for each in member(node, lines)]
    return "\n\n".join(
        [
            f"# {escaped(name)}",
            f"```{{py:module}} {name}\n```",
            docstring(tree),
            fields(tree.body, lines),
            *members,
        ]
    )


def write(source: Path, folder: Path) -> None:
    """Write into `folder` a page for every module under `source`, and index.md, which names them all."""
    packages = {path.parent.name for path in source.glob("*/__init__.py")}
    names = {}
    for path in source.rglob("*.py"):
        name = ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__")
        about = ast.get_docstring(ast.parse(path.read_text())) or ""
        names[name] = escaped(about.split("\n\n")[0].replace("\n", " "))
        (folder / f"{name}.md").write_text(page(name, path, packages))
    rows = [[f"[{escaped(name)}]({name}.md)", about] for name, about in sorted(names.items())]
    (folder / "index.md").write_text(
        "# Reference of the packages\n\nWhat can be called from Python, module by module.\n\n"
        + table(["module", "what it holds"], rows, kind="stacked")
        + "\n"
        + contents("", sorted(names))
    )
