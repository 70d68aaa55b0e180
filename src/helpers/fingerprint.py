"""Fingerprints of the code of notebooks: of what they compute, of what they show, and of each picture."""

import ast
import functools
import re
from typing import Any

from defectphonons import fingerprint
from defectphonons.fingerprint import Bare, Module, digest, plain, references

# They say where a result lies and what it is called; its parameters and inputs are in its key by their values.
BOOKKEEPING = fingerprint.BOOKKEEPING | {
    f"{__package__}.{name}" for name in ("execution", "fingerprint", "parameters", "paths", "records")
}
# A statement of a notebook that begins with one of these, or with a module of FIGURES, shows something and computes nothing.
SHOWING = {"display", "nglview", "pd", "print"}
FIGURES = f"{__package__}.figures"


@functools.cache
def of_notebook(cells: tuple[str, ...]) -> str:
    """Return the fingerprint of what the code `cells` of a notebook print and draw."""
    return of_statements(imports(cells)[1], cells)


@functools.cache  # a run's key is asked for by every run that needs it
def of_result(cells: tuple[str, ...]) -> str:
    """Return the fingerprint of what the code `cells` of a notebook compute, without what they print and draw."""
    return of_statements(Computing(imports(cells)[0]).visit(parsed(cells)), cells)


def of_picture(cells: tuple[str, ...], name: str) -> str:
    """Return the fingerprint of how the code `cells` of a notebook draw the picture that they save as `name`.

    Raises ValueError if no cell saves such a picture.
    """
    notebook, tree = imports(cells)
    statements = [node for node in ast.walk(tree) if isinstance(node, ast.Assign | ast.Expr)]
    statements.sort(key=lambda statement: statement.lineno)
    drawing = {}  # variable -> the statement that drew into it last
    for statement in statements:
        call = statement.value
        if isinstance(statement, ast.Assign) and draws(call, notebook):
            drawing[ast.unparse(statement.targets[0])] = statement
        if not (draws(call, notebook) and ast.unparse(call.func) == "style.save"):
            continue
        saved = re.sub(r"\{[^}]*\}", "[^/]+", ast.unparse(call.args[2]).removeprefix("f").strip("'"))
        if re.fullmatch(saved, name):
            drawn = drawing.get(ast.unparse(call.args[0]))
            body = [statement] if drawn is None else [drawn, statement]
            return of_statements(ast.Module(body, []), cells)
    raise ValueError(f"no cell saves a picture {name!r}")


def of_statements(tree: ast.Module, cells: tuple[str, ...]) -> str:
    """Return the fingerprint of some of the statements of a notebook, which share the imports of all its `cells`."""
    notebook, _ = imports(cells)
    body = [statement for statement in tree.body if not isinstance(statement, ast.Import | ast.ImportFrom)]
    referred = [name for statement in body for name in references(statement, notebook, "notebook")]
    own = {name for module, name in referred if module == "notebook" and name in notebook.imported}
    statements = [plain(statement) for statement in body]
    statements += [plain(statement) for name in sorted(own) for statement in notebook.definitions[name]]
    return digest(statements, [name for name in referred if name[0] != "notebook"], BOOKKEEPING)


@functools.cache
def imports(cells: tuple[str, ...]) -> tuple[Module, ast.Module]:
    """Return what the code of a notebook imports, and its tree, which is not to be changed."""
    tree = parsed(cells)
    return Module.of(tree, __package__), tree


def parsed(cells: tuple[str, ...]) -> ast.Module:
    """Return the tree of the code of a notebook, bare."""
    return Bare().visit(ast.parse("\n".join(cells)))


def draws(node: ast.AST, notebook: Module) -> bool:
    """Return whether a call begins with a module of the figures."""
    return notebook.modules.get(root(node), "").startswith(FIGURES)


def root(node: ast.AST) -> str:
    """Return the name with which a call or an attribute begins."""
    while isinstance(node, ast.Call | ast.Attribute | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


class Computing(ast.NodeTransformer):
    """Takes away what only shows: what is printed, displayed and drawn, and loops that do nothing else."""

    def __init__(self, known: Module):
        self.known = known

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if root(node.value) in SHOWING or draws(node.value, self.known) else node

    def visit_Assign(self, node: ast.Assign) -> ast.Assign | None:
        return None if draws(node.value, self.known) else node

    def visit_block(self, node: Any) -> Any:
        """Keep a loop or condition, unless nothing is left in it."""
        self.generic_visit(node)
        if not node.body and not node.orelse:
            return None
        node.body = node.body or [ast.Pass()]
        return node

    visit_For = visit_If = visit_block
