"""Digest of the code of a stage: all definitions of our packages that its function reaches.

Read from the source and never run. Names are followed from the stage's function to the functions, classes and constants
that they mean; what counts of each is its syntax tree without comments, docstrings, annotations and the words of
errors. `ast.unparse` spells the trees, so that another minor version of Python may give other digests.

Not seen: a function that only its decorator knows (a registry), and what a function writes into a `global`.
"""

import ast
import inspect
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any

from tasks.runtime.syntax import AT_IMPORT, Names, Stripper, annotations_of, defined, imported, names_in, top_level

PACKAGES = ("configs", "stitchedit", "storage", "tasks")

# What moves bytes and words but decides no pixel, and is not followed: a faster store makes no new result.
PLUMBING = frozenset(
    {
        "stitchedit.errors",
        "tasks.runtime.memory",
        "storage.arrays.layout",
        "storage.arrays.units",
        "storage.artifact",
        "storage.errors",
        "storage.arrays.frame_array",
        "storage.weights.pretrained",
        "storage.arrays.shards",
        "storage.weights.state_dict",
        "storage.store",
        "storage.workspace",
        "tasks.runtime.checkpoint",
        "tasks.runtime.code_digest",
        "tasks.runtime.pretrained",
        "tasks.runtime.progress",
        "tasks.runtime.row_reuse",
        "tasks.runtime.stage",
        "tasks.runtime.syntax",
    }
)

QualifiedName = tuple[str, str]
"""A module, and a name at its top level."""


def code_digests(function: Callable[..., Any]) -> dict[str, str]:
    """12 hex digits for each definition that `function` reaches, by "package.module.name", sorted.

    Raises:
        ValueError: `function` is not at the top level of a module of ours.
    """
    return dict(_digests(function))


def code_digest(function: Callable[..., Any]) -> str:
    """16 hex digits over all of `code_digests`."""
    return sha256(repr(_digests(function)).encode()).hexdigest()[:16]


@cache
def own_code() -> "CodeIndex":
    """Index of the imported code. Call it at import: a file that is edited later is not the code that runs."""
    return CodeIndex(Path(__file__).parents[2], PACKAGES, PLUMBING)


@cache
def _digests(function: Callable[..., Any]) -> tuple[tuple[str, str], ...]:
    plain = inspect.unwrap(function)
    return tuple(own_code().closure(plain.__module__, plain.__qualname__).items())


class CodeIndex:
    """The definitions in the packages below one folder. All files are read at once, and parsed when reached."""

    def __init__(self, root: Path, packages: tuple[str, ...], plumbing: frozenset[str] = frozenset()) -> None:
        self.root, self.plumbing = root, plumbing
        files = [file for package in packages for file in (root / package).rglob("*.py")]
        self._sources = {_module_name(file.relative_to(root)): file for file in files}
        self._texts = {name: file.read_bytes() for name, file in self._sources.items()}
        self._modules: dict[str, _Module] = {}
        self._lock = Lock()  # stages start in threads, and one must not read a tree that another is stripping

    def closure(self, module: str, name: str) -> dict[str, str]:
        """Digest of `name` in `module` and of every definition that it reaches, sorted by their names."""
        with self._lock:
            if module not in self._texts or name not in self._module(module).statements:
                raise ValueError(
                    f"There is no {module}.{name} below {self.root}. Put the stage at the top of a module there."
                )
            found: dict[QualifiedName, str] = {}
            waiting = self._with_arguments((module, name))
            while waiting:
                place = waiting.pop()
                if place not in found:
                    definition = self._module(place[0]).definition(place[1])
                    found[place] = definition.digest
                    waiting |= {(above, AT_IMPORT) for above in _stems(place[0]) if above in self._texts}
                    waiting |= self._places(definition.reaches)
        return {f"{where}.{what}": digest for (where, what), digest in sorted(found.items()) if digest}

    def _with_arguments(self, place: QualifiedName) -> set[QualifiedName]:
        """`place` and the classes that its annotations name, and those of their fields: they are made elsewhere."""
        found, waiting = set(), {place}
        while waiting:
            place = waiting.pop()
            found.add(place)
            named = self._places(self._module(place[0]).definition(place[1]).annotations)
            waiting |= {(where, what) for where, what in named if self._module(where).is_class(what)} - found
        return found

    def _places(self, names: Iterable[str]) -> set[QualifiedName]:
        """Places of the definitions of `names`; all of a module that is used without an attribute."""
        places = set()
        for name in names:
            module = next((stem for stem in _stems(name) if stem in self._texts), None)
            if module is None or module in self.plumbing:
                continue
            own = name[len(module) + 1 :].partition(".")[0]
            if self._module(module).has(own):
                places.add((module, own))
            else:
                whole = {other for other in self._texts if f"{other}.".startswith(f"{module}.")} - self.plumbing
                places |= {(other, what) for other in whole for what in self._module(other).statements}
        return places

    def _module(self, name: str) -> "_Module":
        if name not in self._modules:
            is_package = self._sources[name].name == "__init__.py"
            package = name if is_package else name.rpartition(".")[0]
            self._modules[name] = _Module(name, package, ast.parse(self._texts[name]))
        return self._modules[name]


@dataclass(frozen=True)
class _Definition:
    digest: str  # empty for a name that is only imported
    reaches: frozenset[str]  # "package.module.name.attribute", of anybody's packages
    annotations: frozenset[str]  # likewise, of arguments and fields


class _Module:
    """One file: what its top level defines, and what it imports."""

    def __init__(self, name: str, package: str, tree: ast.Module) -> None:
        self.name, self.package = name, package
        self.statements: dict[str, list[tuple[ast.stmt, ast.stmt]]] = defaultdict(list)  # alone, and where it stands
        self._imports: dict[str, set[str]] = defaultdict(set)
        self._definitions: dict[str, _Definition] = {}
        for node, outer in top_level(tree.body):
            for local, target in imported(node, package):
                self._imports[local].add(target)
            for made in defined(node):
                self.statements[made].append((node, outer))

    def has(self, name: str) -> bool:
        return name in self.statements or name in self._imports

    def is_class(self, name: str) -> bool:
        return any(isinstance(node, ast.ClassDef) for node, _ in self.statements.get(name, ()))

    def definition(self, name: str) -> _Definition:
        if name not in self._definitions:
            self._definitions[name] = self._read(name)
        return self._definitions[name]

    def _read(self, name: str) -> _Definition:
        nodes = self.statements.get(name, [])
        annotations = names_in(self.package, [part for node, _ in nodes for part in annotations_of(node)])
        stripped = [Stripper().visit(outer) for _, outer in nodes]
        names = names_in(self.package, stripped)
        # the tree does not tell what an imported name means, and theirs are not followed
        firsts = {used.partition(".")[0] for used in names.free} & self._imports.keys()
        targets = {
            f"{first} = {target}"
            for first in firsts
            for target in self._imports[first]
            if target.partition(".")[0] not in PACKAGES
        }
        text = "\n".join([*map(ast.unparse, stripped), *sorted(targets)])
        return _Definition(
            digest=sha256(text.encode()).hexdigest()[:12] if nodes else "",
            reaches=frozenset(self._absolute(names) | self._imports.get(name, set())),
            annotations=frozenset(self._absolute(annotations)),
        )

    def _absolute(self, names: Names) -> set[str]:
        found = set(names.imported)
        for used in names.free:
            first, dot, rest = used.partition(".")
            found |= {target + dot + rest for target in self._imports.get(first, ())}
            if first in self.statements:
                found.add(f"{self.name}.{used}")
        return found


def _stems(dotted: str) -> list[str]:
    """`a.b.c`, `a.b` and `a`."""
    parts = dotted.split(".")
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]


def _module_name(file: Path) -> str:
    """ "package.module" of a file relative to the root."""
    parts = file.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
