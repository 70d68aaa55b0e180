"""Fingerprints of code: hashes of what it computes, whatever its comments, docstrings, annotations and words of errors.

A fingerprint covers a definition of the helpers, or the code of a notebook, with everything in the helpers that it refers
to, directly or not. It is the same under every supported version of Python.
"""

import ast
import copy
import functools
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HELPERS = Path(__file__).parent
# They say where a result lies and what it is called; its parameters and inputs are in its key by their values.
BOOKKEEPING = {"execution", "fingerprint", "parameters", "paths", "records"}
# A statement of a notebook that begins with one of these shows something and computes nothing.
SHOWING = {"display", "figures", "nglview", "pd", "print"}

Name = tuple[str, str]  # a module of the helpers, and a definition in it; "*" stands for all


def of(name: str) -> str:
    """Return the fingerprint of a function or class of the helpers, like "relaxation.relax": 16 hexadecimal digits.

    By its name, since importing what takes seconds to import is not needed. Raises KeyError if there is none.
    """
    module, name = name.split(".")
    if name not in module_of(module).definitions:
        raise KeyError(f"helpers.{module} defines no {name}")
    return digest([], [(module, name)])


@functools.cache
def of_notebook(cells: tuple[str, ...]) -> str:
    """Return the fingerprint of what the code `cells` of a notebook print and draw."""
    return of_statements(imports(cells)[1], cells)


@functools.cache  # a run's key is asked for by every run that needs it
def of_result(cells: tuple[str, ...]) -> str:
    """Return the fingerprint of what the code `cells` of a notebook compute, without what they print and draw."""
    return of_statements(Computing().visit(parsed(cells)), cells)


def of_picture(cells: tuple[str, ...], name: str) -> str:
    """Return the fingerprint of how the code `cells` of a notebook draw the picture that they save as `name`.

    Raises ValueError if no cell saves such a picture.
    """
    statements = [each for each in ast.walk(imports(cells)[1]) if isinstance(each, ast.Assign | ast.Expr)]
    statements.sort(key=lambda each: each.lineno)
    drawing = {}  # variable -> the statement that drew into it last
    for statement in statements:
        call = statement.value
        if isinstance(statement, ast.Assign) and root(call) == "figures":
            drawing[ast.unparse(statement.targets[0])] = statement
        if not (isinstance(call, ast.Call) and ast.unparse(call.func) == "figures.save"):
            continue
        saved = re.sub(r"\{[^}]*\}", "[^/]+", ast.unparse(call.args[2]).removeprefix("f").strip("'"))
        if re.fullmatch(saved, name):
            drawn = drawing.get(ast.unparse(call.args[0]))
            body = [statement] if drawn is None else [drawn, statement]
            return of_statements(ast.Module(body, []), cells)
    raise ValueError(f"no cell saves a picture {name!r}")


def of_statements(tree: ast.Module, cells: tuple[str, ...]) -> str:
    """Return the fingerprint of some of the statements of a notebook, which share the imports of all its `cells`."""
    known, _ = imports(cells)
    body = [each for each in tree.body if not isinstance(each, ast.Import | ast.ImportFrom)]
    referred = [name for each in body for name in references(each, known, "notebook")]
    own = {name for module, name in referred if module == "notebook" and name in known.imported}
    statements = [plain(each) for each in body]
    statements += [plain(each) for name in sorted(own) for each in known.definitions[name]]
    return digest(statements, [name for name in referred if name[0] != "notebook"])


def digest(statements: list[Any], names: list[Name]) -> str:
    """Return the hash of `statements` and of the definitions `names` with all that they refer to."""
    found: dict[str, Any] = {}
    waiting = list(names)
    while waiting:
        module, name = waiting.pop()
        if module in BOOKKEEPING or f"{module}.{name}" in found:
            continue
        found[f"{module}.{name}"], referred = definition(module, name)
        waiting += referred
    text = json.dumps([statements, found], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@functools.cache
def definition(module: str, name: str) -> tuple[list[Any], list[Name]]:
    """Return the statements that define `name` in a module of the helpers, as of `plain`, and what they refer to."""
    known = module_of(module)
    if name == "*":
        return [], [(module, each) for each in (*known.definitions, *known.links)]
    if name == "":  # what the module does on import
        statements, referred = known.always, []
    else:
        statements, referred = known.definitions.get(name, []), [(module, "")]
    if name in known.links:
        return list(known.links[name]), [*referred, known.links[name]]
    referred += [other for each in statements for other in references(each, known, module)]
    return [plain(each) for each in statements], referred


@dataclass
class Module:
    """What a module defines: its names with their statements, and what it imports from the helpers."""

    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imported: set[str] = field(default_factory=set)  # of these, what comes from other packages
    helpers: dict[str, str] = field(default_factory=dict)  # name here -> module of the helpers
    links: dict[str, Name] = field(default_factory=dict)  # name here -> definition in another of them
    always: list[ast.stmt] = field(default_factory=list)  # what names nothing and takes effect on import

    @classmethod
    def of(cls, tree: ast.Module) -> "Module":
        """Read a tree that is `bare`."""
        module = cls()
        for statement in tree.body:
            if isinstance(statement, ast.If) and "__name__" in ast.unparse(statement.test):
                continue
            inner = [each for each in ast.walk(statement) if isinstance(each, ast.Import | ast.ImportFrom)]
            if isinstance(statement, ast.FunctionDef | ast.ClassDef):
                module.definitions.setdefault(statement.name, []).append(statement)
                continue
            for each in inner:
                module.add_import(each)
            if inner:
                continue
            names = {
                each.id
                for each in ast.walk(statement)
                if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
            }
            for name in names:
                module.definitions.setdefault(name, []).append(statement)
            if not names:
                module.always.append(statement)
        return module

    def add_import(self, statement: ast.Import | ast.ImportFrom) -> None:
        """Note what an import statement brings in."""
        source = getattr(statement, "module", None) or ""
        for alias in statement.names:
            name = alias.asname or alias.name.split(".")[0]
            if source == "helpers":
                self.helpers[name] = alias.name
            elif source.startswith("helpers."):
                self.links[name] = (source.removeprefix("helpers."), alias.name)
            else:
                one = copy.copy(statement)
                one.names = [alias]
                self.definitions.setdefault(name, []).append(one)
                self.imported.add(name)


@functools.cache
def module_of(name: str) -> Module:
    """Read a module of the helpers."""
    return Module.of(Bare().visit(ast.parse((HELPERS / f"{name}.py").read_text())))


@functools.cache
def imports(cells: tuple[str, ...]) -> tuple[Module, ast.Module]:
    """Return what the code of a notebook imports, and its tree, which is not to be changed."""
    tree = parsed(cells)
    return Module.of(tree), tree


def parsed(cells: tuple[str, ...]) -> ast.Module:
    """Return the tree of the code of a notebook, bare."""
    return Bare().visit(ast.parse("\n".join(cells)))


def references(statement: ast.AST, known: Module, module: str) -> Iterator[Name]:
    """Yield each definition of the helpers that a statement of `module` refers to."""
    helpers, links, local = known.helpers, known.links, set()
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        inner = Module()
        for each in ast.walk(statement):
            if isinstance(each, ast.Import | ast.ImportFrom):
                inner.add_import(each)
        helpers, links = helpers | inner.helpers, links | inner.links
    if isinstance(statement, ast.FunctionDef):
        local = own_names(statement)
    of_modules = set()
    for each in ast.walk(statement):  # an attribute comes before the name that it belongs to
        if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name) and each.value.id in helpers:
            if each.value.id not in local:
                yield helpers[each.value.id], each.attr
            of_modules.add(each.value)
        elif isinstance(each, ast.Name) and each not in of_modules and each.id not in local:
            if each.id in helpers:
                yield helpers[each.id], "*"
            elif each.id in links:
                yield links[each.id]
            elif each.id in known.definitions:
                yield module, each.id


def own_names(function: ast.FunctionDef) -> set[str]:
    """Return the arguments and variables of a function, which hide what its module calls by the same names.

    Those of functions and comprehensions within it hide nothing outside these.
    """
    arguments = function.args
    found = {each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
    found |= {each.arg for each in (arguments.vararg, arguments.kwarg) if each}
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        if not isinstance(node, ast.FunctionDef | ast.Lambda | ast.comprehension):
            waiting += ast.iter_child_nodes(node)
    return found


def root(node: ast.AST) -> str:
    """Return the name with which a call or an attribute begins."""
    while isinstance(node, ast.Call | ast.Attribute | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def plain(node: Any) -> Any:
    """Return a syntax tree as nested lists, without what only some versions of Python note in it."""
    if isinstance(node, ast.AST):
        fields = {
            name: plain(value)
            for name, value in ast.iter_fields(node)
            if name not in ("ctx", "kind", "type_comment") and value is not None and value != []
        }
        return [type(node).__name__, fields]
    return [plain(each) for each in node] if isinstance(node, list) else repr(node)


class Bare(ast.NodeTransformer):
    """Takes away docstrings, annotations and the words of errors."""

    annotated = False  # whether annotations count: a base class as pydantic's computes with them

    def without_docstring(self, node: Any) -> Any:
        """The first statement, if it is a text."""
        self.generic_visit(node)
        if node.body and isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant):
            node.body = node.body[1:] or [ast.Pass()]
        return node

    visit_Module = without_docstring

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.returns = None
        return self.without_docstring(node)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        outer, self.annotated = self.annotated, bool(node.bases)
        self.without_docstring(node)
        self.annotated = outer
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign:
        if not self.annotated:
            node.annotation = ast.Constant(None)
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.Raise:
        if isinstance(node.exc, ast.Call):
            node.exc = node.exc.func
        return self.generic_visit(node)

    def visit_Assert(self, node: ast.Assert) -> ast.Assert:
        node.msg = None
        return self.generic_visit(node)


class Computing(ast.NodeTransformer):
    """Takes away what only shows: what is printed, displayed and drawn, and loops that do nothing else."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if root(node.value) in SHOWING else node

    def visit_Assign(self, node: ast.Assign) -> ast.Assign | None:
        return None if root(node.value) == "figures" else node

    def visit_block(self, node: Any) -> Any:
        """A loop or condition, unless nothing is left in it."""
        self.generic_visit(node)
        if not node.body and not node.orelse:
            return None
        node.body = node.body or [ast.Pass()]
        return node

    visit_For = visit_If = visit_block
