"""Which code a stage's result depends on, read from the source and never run.

From the stage's function, names are followed to the functions, classes and constants of our own packages. What is
compared are syntax trees without comments, docstrings, annotations and the words of errors: a changed helper makes a
new key, a changed comment does not. Trees are spelled out by `ast.unparse`, which may change with Python's version.
"""

import ast
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGES = ("configs", "stitchedit", "storage", "tasks")

# What carries bytes and words but decides no pixel: a better error message or a faster store is no new result.
PLUMBING = frozenset(
    {
        "stitchedit.errors",
        "stitchedit.memory",
        "storage.array_layout",
        "storage.array_units",
        "storage.artifact",
        "storage.errors",
        "storage.frame_array",
        "storage.pretrained",
        "storage.shards",
        "storage.state_dict",
        "storage.store",
        "storage.workspace",
        "tasks.checkpoint",
        "tasks.code",
        "tasks.pretrained",
        "tasks.progress",
        "tasks.stage",
    }
)

Place = tuple[str, str]
"""Module and name of a definition."""


def code_digest(function: Callable[..., Any]) -> str:
    """16 hex digits over everything that `code_digests` finds."""
    return sha256(repr(sorted(code_digests(function).items())).encode()).hexdigest()[:16]


@cache
def code_digests(function: Callable[..., Any]) -> Mapping[str, str]:
    """Digest of every definition that `function` reaches, by "package.module.name"."""
    plain = inspect.unwrap(function)
    return _index().closure(plain.__module__, plain.__qualname__.partition(".")[0])


@cache
def _index() -> "CodeIndex":
    return CodeIndex(ROOT, PACKAGES, PLUMBING)


@dataclass
class CodeIndex:
    """The definitions in the packages below one folder, and what they refer to."""

    root: Path
    packages: tuple[str, ...]
    plumbing: frozenset[str] = frozenset()
    _modules: dict[str, "_Module | None"] = field(default_factory=dict)

    def closure(self, module: str, name: str) -> dict[str, str]:
        """Digest of `name` in `module` and of every definition it reaches, sorted by place."""
        found: dict[str, str] = {}
        waiting = [(module, name), *self._always(module)]
        seen: set[Place] = set()
        while waiting:
            place = waiting.pop()
            if place in seen:
                continue
            seen.add(place)
            definition = self._definition(place)
            if definition is not None:
                found[".".join(place)] = definition.digest
                waiting += [target for target in definition.reaches if target[0] not in self.plumbing]
        return dict(sorted(found.items()))

    def _definition(self, place: Place) -> "_Definition | None":
        module = self._module(place[0])
        return module.definitions.get(place[1]) if module else None

    def _always(self, name: str) -> list[Place]:
        """Statements that run when a module is imported and define nothing."""
        module = self._module(name)
        return [(name, key) for key in module.definitions if key.startswith("<")] if module else []

    def _module(self, name: str) -> "_Module | None":
        if name not in self._modules:
            path = self.root.joinpath(*name.split("."))
            file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            ours = name.partition(".")[0] in self.packages and file.is_file()
            self._modules[name] = None
            if ours:
                self._modules[name] = self._read(name, ast.parse(file.read_text(encoding="utf-8")))
        return self._modules[name]

    def _read(self, name: str, tree: ast.Module) -> "_Module":
        imports = self._imports(tree)
        parts = {key: [_Words().visit(node) for node in nodes] for key, nodes in _definitions(tree).items()}
        definitions = {}
        for key, nodes in parts.items():
            # annotations are followed, for methods are called of what they name, and only then taken out
            reaches = {place for node in nodes for place in self._reached(name, node, imports, set(parts))}
            text = "\n".join(ast.unparse(_Annotations().visit(node)) for node in nodes)
            definitions[key] = _Definition(sha256(text.encode()).hexdigest()[:12], frozenset(reaches))
        return _Module(definitions)

    def _imports(self, tree: ast.AST) -> dict[str, Place]:
        """Local name -> where it is from; a module itself has the name ""."""
        found: dict[str, Place] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    target = alias.name if alias.asname else alias.name.partition(".")[0]
                    found[alias.asname or target] = (target, "")
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    is_module = node.module.partition(".")[0] in self.packages and self._module(inner) is not None
                    found[alias.asname or alias.name] = (inner, "") if is_module else (node.module, alias.name)
        return {local: place for local, place in found.items() if place[0].partition(".")[0] in self.packages}

    def _reached(self, module: str, node: ast.AST, imports: Mapping[str, Place], own: set[str]) -> Iterator[Place]:
        """Definitions that the code in `node` refers to."""
        followed: set[int] = set()
        for part in ast.walk(node):
            dotted = _dotted(part)
            if dotted and dotted[0] in imports and imports[dotted[0]][1] == "":
                place = self._follow(imports[dotted[0]][0], dotted[1:])
                if place:
                    yield place
                    yield from self._always(place[0])
                    followed |= set(_chain(part))
        for part in ast.walk(node):
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load) and id(part) not in followed:
                yield from self._named(module, part.id, imports, own)

    def _follow(self, module: str, names: list[str]) -> Place | None:
        """The definition that `module.a.b` means."""
        for name in names:
            if self._module(f"{module}.{name}") is None:
                return (module, name) if self._definition((module, name)) else None
            module = f"{module}.{name}"
        return None

    def _named(self, module: str, name: str, imports: Mapping[str, Place], own: set[str]) -> Iterator[Place]:
        if name in imports:
            source, inner = imports[name]
            whole = self._module(source) if not inner else None
            yield from [(source, key) for key in whole.definitions] if whole else [(source, inner)]
            yield from self._always(source)
        elif name in own:
            yield (module, name)


@dataclass(frozen=True)
class _Definition:
    digest: str
    reaches: frozenset[Place]


@dataclass(frozen=True)
class _Module:
    definitions: dict[str, _Definition]


class _Words(ast.NodeTransformer):
    """Takes out docstrings and the words of errors."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.body = _without_docstring(node.body)
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.body = _without_docstring(node.body)
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if isinstance(node.exc, ast.Call):
            node.exc = node.exc.func
        node.cause = None
        return self.generic_visit(node)


class _Annotations(ast.NodeTransformer):
    """Takes out annotations."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(value=...)
        return self.generic_visit(node)


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0]
    told = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    return (body[1:] or [ast.Pass()]) if told else body


def _definitions(tree: ast.Module) -> dict[str, list[ast.stmt]]:
    """Top-level statements by the name they define; those that define none as "<line>"."""
    found: dict[str, list[ast.stmt]] = {}
    for node in _without_docstring(tree.body) if tree.body else []:
        if isinstance(node, ast.Import | ast.ImportFrom):
            continue
        names = _defined(node)
        for name in names or [f"<{len(found)}>"]:
            found.setdefault(name, []).append(node)
    return found


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
    if isinstance(node, ast.If | ast.Try):
        return [name for inner in ast.iter_child_nodes(node) if isinstance(inner, ast.stmt) for name in _defined(inner)]
    return []


def _dotted(node: ast.AST) -> list[str] | None:
    """["a", "b", "c"] for the expression a.b.c."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *reversed(names)] if names and isinstance(node, ast.Name) else None


def _chain(node: ast.AST) -> Iterator[int]:
    """Identities of the nodes that make up a.b.c."""
    while isinstance(node, ast.Attribute):
        node = node.value
        yield id(node)
