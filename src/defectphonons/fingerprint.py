"""Fingerprints of code: hashes of what it computes, whatever its comments, docstrings, annotations and words of errors.

A fingerprint covers a definition with everything that it refers to, directly or not, in its own package and in this one. It
is the same under every supported version of Python. What is cached is valid for the fingerprint of what computed it.
"""

import ast
import copy
import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).parents[1]  # this package, and beside it those that build on it
# They say where something cached lies and what it is called, not what it holds.
BOOKKEEPING = {f"{__package__}.{name}" for name in ("caching", "fingerprint", "parallel")}

Name = tuple[str, str]  # a module, and a definition in it; "*" stands for all


def of(name: str) -> str:
    """Return the fingerprint of a function or class, like "defectphonons.relaxation.relax": 16 hexadecimal digits.

    By its name, since importing what takes seconds to import is not needed. Raises KeyError if there is none.
    """
    module, _, name = name.rpartition(".")
    if name not in module_of(module).definitions:
        raise KeyError(f"{module} defines no {name}")
    return digest([], [(module, name)], BOOKKEEPING)


def digest(statements: list[Any], names: list[Name], without: set[str]) -> str:
    """Return the hash of `statements` and of the definitions `names` with all that they refer to.

    Definitions in the modules `without` do not count.
    """
    definitions: dict[str, Any] = {}
    waiting = list(names)
    while waiting:
        module, name = waiting.pop()
        if module in without or f"{module}.{name}" in definitions:
            continue
        definitions[f"{module}.{name}"], referred = definition(module, name)
        waiting += referred
    text = json.dumps([statements, definitions], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@functools.cache
def definition(module: str, name: str) -> tuple[list[Any], list[Name]]:
    """Return the statements that define `name` in a module, as of `plain`, and what they refer to."""
    contents = module_of(module)
    if name == "*":
        return [], [(module, defined) for defined in (*contents.definitions, *contents.links)]
    if name == "":  # what the module does on import
        statements, referred = contents.always, []
    else:
        statements, referred = contents.definitions.get(name, []), [(module, "")]
    if name in contents.links:
        return list(contents.links[name]), [*referred, contents.links[name]]
    referred += [other for statement in statements for other in references(statement, contents, module)]
    return [plain(statement) for statement in statements], referred


@dataclass
class Module:
    """What a module defines: its names with their statements, and what it imports from the packages that are followed."""

    package: str  # its own, which is followed as this one is
    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imported: set[str] = field(default_factory=set)  # of these, what comes from other packages
    modules: dict[str, str] = field(default_factory=dict)  # name in this module -> module that is followed
    links: dict[str, Name] = field(
        default_factory=dict
    )  # name in this module -> definition in another of them
    always: list[ast.stmt] = field(default_factory=list)  # what names nothing and takes effect on import

    @classmethod
    def of(cls, tree: ast.Module, package: str) -> "Module":
        """Read the tree, after `Bare`, of a module of `package`."""
        module = cls(package)
        for statement in tree.body:
            if isinstance(statement, ast.If) and "__name__" in ast.unparse(statement.test):
                continue
            inner = [node for node in ast.walk(statement) if isinstance(node, ast.Import | ast.ImportFrom)]
            if isinstance(statement, ast.FunctionDef | ast.ClassDef):
                module.definitions.setdefault(statement.name, []).append(statement)
                continue
            for node in inner:
                module.add_import(node)
            if inner:
                continue
            names = {
                node.id
                for node in ast.walk(statement)
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            }
            for name in names:
                module.definitions.setdefault(name, []).append(statement)
            if not names:
                module.always.append(statement)
        return module

    def add_import(self, statement: ast.Import | ast.ImportFrom) -> None:
        """Note what an import statement brings in. Raises ValueError for one whose uses are not followed."""
        source = getattr(statement, "module", None) or ""
        for alias in statement.names:
            name = alias.asname or alias.name.split(".")[0]
            top = (source or alias.name).split(".")[0]
            if top not in (self.package, __package__):
                one = copy.copy(statement)
                one.names = [alias]
                self.definitions.setdefault(name, []).append(one)
                self.imported.add(name)
            elif not source:
                raise ValueError(
                    f"import {alias.name}: what is used of it is not followed; write from ... import ..."
                )
            elif path_of(f"{source}.{alias.name}").exists():
                self.modules[name] = f"{source}.{alias.name}"
            else:
                self.links[name] = (source, alias.name)


def path_of(module: str) -> Path:
    """Return the source file of a module, like "defectphonons.hessian.layers", or of a package."""
    path = SOURCES.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@functools.cache
def module_of(name: str) -> Module:
    """Read a module."""
    return Module.of(Bare().visit(ast.parse(path_of(name).read_text())), name.split(".")[0])


def references(statement: ast.AST, contents: Module, module: str) -> Iterator[Name]:
    """Yield each definition that a statement of `module` refers to, in packages that are followed."""
    modules, links, local = contents.modules, contents.links, set()
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        inner = Module(contents.package)
        for node in ast.walk(statement):
            if isinstance(node, ast.Import | ast.ImportFrom):
                inner.add_import(node)
        modules, links = modules | inner.modules, links | inner.links
    if isinstance(statement, ast.FunctionDef):
        local = own_names(statement)
    of_modules = set()
    for node in ast.walk(statement):  # an attribute comes before the name that it belongs to
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            if node.value.id not in local:
                yield modules[node.value.id], node.attr
            of_modules.add(node.value)
        elif isinstance(node, ast.Name) and node not in of_modules and node.id not in local:
            if node.id in modules:
                yield modules[node.id], "*"
            elif node.id in links:
                yield links[node.id]
            elif node.id in contents.definitions:
                yield module, node.id


def own_names(function: ast.FunctionDef) -> set[str]:
    """Return the arguments and variables of a function, which hide what its module calls by the same names.

    Those of functions and comprehensions within it hide nothing outside these.
    """
    arguments = function.args
    names = {argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
    names |= {argument.arg for argument in (arguments.vararg, arguments.kwarg) if argument}
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        if not isinstance(node, ast.FunctionDef | ast.Lambda | ast.comprehension):
            waiting += ast.iter_child_nodes(node)
    return names


def plain(node: Any) -> Any:
    """Return a syntax tree as nested lists, without what only some versions of Python note in it."""
    if isinstance(node, ast.AST):
        fields = {
            name: plain(value)
            for name, value in ast.iter_fields(node)
            if name not in ("ctx", "kind", "type_comment") and value is not None and value != []
        }
        return [type(node).__name__, fields]
    return [plain(item) for item in node] if isinstance(node, list) else repr(node)


class Bare(ast.NodeTransformer):
    """Takes away docstrings, annotations and the words of errors."""

    annotated = False  # whether annotations count: a base class as pydantic's computes with them

    def without_docstring(self, node: Any) -> Any:
        """Take away the first statement, if it is a text."""
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
