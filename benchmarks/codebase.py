"""Count what a reader meets in the code: modules per folder, retired words, names defined twice, long functions.

    python benchmarks/codebase.py                     # this checkout
    python benchmarks/codebase.py ../older --verbose  # another one, with every finding

`tests/test_codebase.py` holds the counts that must be zero.
"""

import argparse
import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("flows", "tasks", "stitchedit", "storage", "configs")
PROSE = (*PACKAGES, "tests", "benchmarks", "docs", "deploy")
SUFFIXES = (".py", ".md", ".j2", ".yaml")
OPENERS = re.compile(r"(What|How|Where|Whether|Which|Who|Whose|Why)\b")
RETIRED = re.compile(  # the left column of the glossary in CONTRIBUTING.md
    r"\b(?:ma[dk]es? (?:again|anew)|making \w+ again|g(?:oes|o|oing|one) on|went on|half done|under way|pictures?"
    r"|(?:re)?drawn|drawings?|likelihoods?|stops no other|as (?:it was|they were|it is now)"
    r"|(?:is|are|was|were|be|been) told|whom)\b",
    re.IGNORECASE,
)
KINDS = (
    "retired words",
    "docstrings that open with a question word",
    "class names defined twice",
    "type: ignore",
)
GLOSSARY = ("CONTRIBUTING.md", "docs/contributing.md", "benchmarks/codebase.py", "tests/test_codebase.py")


@dataclass(frozen=True)
class Finding:
    """One place that a count is made of."""

    kind: str
    place: str  # path:line
    text: str


def findings(root: Path) -> Iterator[Finding]:
    """Everything below `root` that should not be there."""
    yield from retired_words(root)
    names = defaultdict(list)
    for path in python_files(root):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        place = path.relative_to(root).as_posix()
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                docstring = ast.get_docstring(node)
                if docstring and OPENERS.match(docstring):
                    line = getattr(node, "lineno", 1)
                    yield Finding("docstrings that open with a question word", f"{place}:{line}", docstring[:60])
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                names[node.name].append(f"{place}:{node.lineno}")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if "# type: ignore" in line:
                yield Finding("type: ignore", f"{place}:{number}", line.strip())
    for name, places in names.items():
        if len(places) > 1:
            yield Finding("class names defined twice", ", ".join(places), name)


def retired_words(root: Path) -> Iterator[Finding]:
    """Words of the glossary's left column, in code, documentation and messages."""
    top = [path for path in root.glob("*.md") if path.name != "CHANGELOG.md"]
    nested = [path for folder in PROSE for path in sorted((root / folder).rglob("*")) if path.suffix in SUFFIXES]
    for path in (*top, *nested):
        place = path.relative_to(root).as_posix()
        if place in GLOSSARY or ("weights" in path.parts[-2:-1] and path.suffix != ".md"):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for match in RETIRED.finditer(line):
                yield Finding("retired words", f"{place}:{number}", match.group(0).lower())


def python_files(root: Path) -> list[Path]:
    """The modules of the packages, without the tests."""
    return [path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]


def longest_function(root: Path) -> tuple[int, str]:
    """Lines of the longest function, and which it is."""
    longest = (0, "")
    for path in python_files(root):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.end_lineno:
                lines = node.end_lineno - node.lineno + 1
                longest = max(longest, (lines, f"{path.relative_to(root).as_posix()}:{node.name}"))
    return longest


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the counts as a table, and each finding if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", nargs="?", type=Path, default=Path(__file__).parents[1], help="the checkout to count")
    parser.add_argument("--verbose", action="store_true", help="print every finding")
    options = parser.parse_args(arguments)
    found = list(findings(options.root))
    for kind in KINDS:
        print(f"{sum(one.kind == kind for one in found):6} {kind}")
    lines, where = longest_function(options.root)
    print(f"{lines:6} lines of the longest function, {where}")
    print(f"{len((options.root / 'README.md').read_text(encoding='utf-8').split()):6} words of README.md")
    modules = Counter(path.parent.relative_to(options.root).as_posix() for path in python_files(options.root))
    for folder, count in sorted(modules.items()):
        print(f"{count:6} modules in {folder}/")
    if options.verbose:
        for one in found:
            print(f"{one.place}: {one.kind}: {one.text}")


if __name__ == "__main__":
    main()
