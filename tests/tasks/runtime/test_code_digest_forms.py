"""Imports of every form, import-time statements, stages that start at once: what a closure must and must not see."""

from pathlib import Path
from threading import Barrier, Thread

import pytest

from tasks.runtime.code_digest import PACKAGES, PLUMBING, CodeIndex

ROOT = Path(__file__).parents[3]
ONE, TWO = "def f():\n    return 1\n", "def f():\n    return 2\n"


def closure(root: Path, stage: str, **modules: str) -> dict[str, str]:
    (root / "toy").mkdir(parents=True)
    for name, text in {"__init__": "", "stage": stage, **modules}.items():
        (root / "toy" / f"{name}.py").write_text(text)
    return CodeIndex(root, ("toy",)).closure("toy.stage", "stage")


@pytest.mark.parametrize(
    "stage",
    [
        "from .impl import f\n\ndef stage(out):\n    return f()\n",
        "import toy.impl\n\ndef stage(out):\n    return toy.impl.f()\n",
        "from toy.hub import f\n\ndef stage(out):\n    return f()\n",
        "from toy import hub\n\ndef stage(out):\n    return hub.f()\n",
        "from toy import impl\n\ndef stage(out):\n    return getattr(impl, 'f')()\n",
        "def stage(out):\n    from toy.impl import f\n    return f()\n\ndef other():\n    from toy.late import f\n",
    ],
)
def test_a_helper_counts_however_it_is_imported(tmp_path: Path, stage: str) -> None:
    others = {"hub": "from toy.impl import f\n", "late": ONE}
    assert closure(tmp_path / "a", stage, impl=ONE, **others) != closure(tmp_path / "b", stage, impl=TWO, **others)


def test_a_constant_reached_through_modules_that_import_each_other_counts(tmp_path: Path) -> None:
    stage, b = (
        "from toy import a\n\ndef stage(out):\n    return a.f()\n",
        "from toy import a\n\ndef g():\n    return a.K\n",
    )
    one, two = (f"from toy import b\nK = {k}\n\ndef f():\n    return b.g()\n" for k in (1, 2))
    assert closure(tmp_path / "a", stage, a=one, b=b) != closure(tmp_path / "b", stage, a=two, b=b)


def test_another_library_function_under_the_same_name_counts(tmp_path: Path) -> None:
    floor, ceil = (
        f"from math import {f} as whole\n\ndef stage(out):\n    return whole(1.5)\n" for f in ("floor", "ceil")
    )
    assert closure(tmp_path / "a", floor) != closure(tmp_path / "b", ceil)


@pytest.mark.parametrize(
    ("before", "after", "counts"),
    [
        ('K = 1\n"""px"""\n', 'K = 1\n"""pixels"""\n', False),
        ("K = 1\nprint(1)\n", "K = 1\n\ndef unreached():\n    pass\n\nprint(1)\n", False),
        ("K: int = 1\n", "K: float = 1\n", False),
        ("K: int = 1\n", "K = 1\n", False),
        ("K = 1\nprint(1)\n", "K = 1\nprint(2)\n", True),
        ("K = {}\nK['a'] = 1\n", "K = {}\nK['a'] = 2\n", True),
    ],
)
def test_what_counts_of_a_module_besides_its_definitions(tmp_path: Path, before: str, after: str, counts: bool) -> None:
    stage = "from toy.a import K\n\ndef stage(out):\n    return K\n"
    assert (closure(tmp_path / "a", stage, a=before) != closure(tmp_path / "b", stage, a=after)) is counts


def test_a_variable_is_not_taken_for_a_function_that_is_called_the_same(tmp_path: Path) -> None:
    stage = "def stage(out):\n    f = 3\n    return f\n\n"
    assert closure(tmp_path / "a", stage + ONE) == closure(tmp_path / "b", stage + TWO)


def test_an_option_class_that_only_the_stage_s_annotations_name_counts(tmp_path: Path) -> None:
    stage = "from toy.a import O\n\ndef stage(out, o: O):\n    return o.p.m()\n"
    one, two = (f"class P:\n    def m(self):\n        return {n}\n\nclass O:\n    p: P\n" for n in (1, 2))
    assert closure(tmp_path / "a", stage, a=one) != closure(tmp_path / "b", stage, a=two)


def test_a_function_that_is_not_ours_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no elsewhere\.stage below"):
        CodeIndex(ROOT, PACKAGES, PLUMBING).closure("elsewhere", "stage")


def test_stages_that_start_at_once_get_the_same_digests() -> None:
    index, together, found = CodeIndex(ROOT, PACKAGES, PLUMBING), Barrier(4), []

    def start() -> None:
        together.wait()
        found.append(index.closure("tasks.stitch", "stitch_faces"))

    threads = [Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [found[0]] * 4
    assert "stitchedit.stitch.stitch_face" in found[0]
