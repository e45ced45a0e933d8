"""Counts that must be zero: retired words, questions as docstrings, class names defined twice."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
KINDS = ("retired words", "docstrings that open with a question word", "class names defined twice")


def load_codebase() -> ModuleType:
    """Import benchmarks/codebase.py, which is no package."""
    spec = importlib.util.spec_from_file_location("codebase", ROOT / "benchmarks" / "codebase.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def found() -> list[tuple[str, str]]:
    """Kind and place of every finding in this checkout."""
    return [(one.kind, f"{one.place}: {one.text}") for one in load_codebase().findings(ROOT)]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_found(found: list[tuple[str, str]], kind: str) -> None:
    assert [place for one, place in found if one == kind] == []


def test_findings_are_found(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("")
    for package in ("flows", "tasks"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "one.py").write_text('class Twice:\n    """What is made again."""\n')
    assert {one.kind for one in load_codebase().findings(tmp_path)} == set(KINDS)
