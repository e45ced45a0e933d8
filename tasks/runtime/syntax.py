"""Definitions, imports and used names of a module, from its syntax tree."""

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

AT_IMPORT = "<module>"  # what a module does when it is imported, but for definitions. Python's own name for it

Targets = Mapping[str, set[str]]
"""Name -> what it is imported from, as "package.module.name". Nothing: it is bound here."""

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


class Names(ast.NodeVisitor):
    """The names that code loads, with the attributes taken from them: `networks.generator`.

    Those of a function's own are left out, so that a variable is not taken for a function that is called the same.
    """

    def __init__(self, package: str) -> None:
        self.package = package
        self.free: set[str] = set()  # of the module
        self.imported: set[str] = set()  # inside a function, as "package.module.name.attribute"
        self._scopes: list[Targets] = []

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._use(node.id, "")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        inner: ast.expr = node
        attributes = ""
        while isinstance(inner, ast.Attribute):
            attributes, inner = f".{inner.attr}{attributes}", inner.value
        if isinstance(inner, ast.Name):
            self._use(inner.id, attributes)
        else:
            self.visit(inner)

    def _use(self, name: str, attributes: str) -> None:
        scope = next((scope for scope in reversed(self._scopes) if name in scope), None)
        if scope is None:
            self.free.add(name + attributes)
        else:
            self.imported |= {target + attributes for target in scope[name]}

    def _visit_function(self, node: Function) -> None:
        body = [node.body] if isinstance(node, ast.Lambda) else node.body
        outside = [*getattr(node, "decorator_list", []), *node.args.defaults, *filter(None, node.args.kw_defaults)]
        for part in outside:
            self.visit(part)
        arguments = {part.arg for part in ast.walk(node.args) if isinstance(part, ast.arg)}
        self._within({name: set() for name in arguments} | _bound(body, self.package), body)

    def _visit_comprehension(self, node: Comprehension) -> None:
        first = node.generators[0]
        self.visit(first.iter)
        stored = {part.id for each in node.generators for part in ast.walk(each.target) if isinstance(part, ast.Name)}
        values = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        inside = [
            *(each.iter for each in node.generators[1:]),
            *(part for each in node.generators for part in each.ifs),
        ]
        self._within({name: set() for name in stored}, [*values, *inside])

    def _within(self, scope: Targets, nodes: Iterable[ast.AST]) -> None:
        self._scopes.append(scope)
        for node in nodes:
            self.visit(node)
        self._scopes.pop()

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = _visit_function  # noqa: N815 - NodeVisitor's names
    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _visit_comprehension  # noqa: N815


class Stripper(ast.NodeTransformer):
    """Remove parts without effect on results: docstrings, annotations, and texts of errors."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if getattr(node, "body", None) == []:
            node.body = [ast.Pass()]  # type: ignore[attr-defined]
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        for field in node.body:
            if isinstance(field, ast.AnnAssign):
                field.annotation = ast.Constant(...)  # that there is one makes it a field of a dataclass
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        self.generic_visit(node)
        if isinstance(node.annotation, ast.Constant) and node.annotation.value is ...:
            return node
        return ast.copy_location(ast.Assign([node.target], node.value), node) if node.value else None

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        node.exc = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        node.cause = None
        return self.generic_visit(node)


def names_in(package: str, nodes: Iterable[ast.AST]) -> Names:
    names = Names(package)
    for node in nodes:
        names.visit(node)
    return names


def top_level(body: Iterable[ast.stmt]) -> Iterator[tuple[ast.stmt, ast.stmt]]:
    """Statements one at a time, alone and under the `if` or `except` that they stand in."""
    for node in body:
        if isinstance(node, ast.If):
            yield from ((inner, ast.If(node.test, [outer], [])) for inner, outer in top_level(node.body))
            otherwise = ast.UnaryOp(ast.Not(), node.test)
            yield from ((inner, ast.If(otherwise, [outer], [])) for inner, outer in top_level(node.orelse))
        elif isinstance(node, ast.Try):
            yield from top_level([*node.body, *node.orelse, *node.finalbody])
            for case in node.handlers:
                for inner, outer in top_level(case.body):
                    handler = ast.ExceptHandler(case.type, case.name, [outer])
                    yield inner, ast.Try([ast.Pass()], [handler], [], [])
        else:
            yield node, node


def defined(node: ast.stmt) -> set[str]:
    """The names that a statement defines; `AT_IMPORT` if it does something else."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        if node.value is None:
            return set()
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        parts = [part for target in targets for part in ast.walk(target) if isinstance(part, ast.expr)]
        stored = {part.id for part in parts if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
        return stored | {AT_IMPORT for part in parts if isinstance(part, ast.Attribute | ast.Subscript)}
    silent = isinstance(node, ast.Import | ast.ImportFrom | ast.Pass)
    return set() if silent or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) else {AT_IMPORT}


def annotations_of(node: ast.stmt) -> list[ast.expr]:
    """Of the arguments of a function, or of the fields of a class."""
    if isinstance(node, ast.ClassDef):
        return [field.annotation for field in node.body if isinstance(field, ast.AnnAssign)]
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return [part.annotation for part in ast.walk(node.args) if isinstance(part, ast.arg) and part.annotation]
    return []


def imported(node: ast.AST, package: str) -> Iterator[tuple[str, str]]:
    """Each name that an import binds, and what it is: "package.module.name"."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield (alias.asname, alias.name) if alias.asname else (alias.name.partition(".")[0],) * 2
    elif isinstance(node, ast.ImportFrom):
        above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
        source = ".".join([*above, *filter(None, [node.module])])
        yield from ((alias.asname or alias.name, f"{source}.{alias.name}") for alias in node.names)


def _bound(body: Iterable[ast.AST], package: str) -> dict[str, set[str]]:
    """The names that the body of a function binds in its own scope."""
    found: dict[str, set[str]] = defaultdict(set)
    elsewhere: set[str] = set()
    waiting = list(body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[node.name] |= set()
        elif isinstance(node, ast.Global):
            elsewhere |= set(node.names)
        elif not isinstance(node, Function | Comprehension):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found[node.id] |= set()
            if isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
                found[node.name] |= set()
            for local, target in imported(node, package):
                found[local].add(target)
            waiting += ast.iter_child_nodes(node)
    return {name: targets for name, targets in found.items() if name not in elsewhere}
