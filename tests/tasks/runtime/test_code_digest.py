import inspect
from pathlib import Path

import pytest

from tasks import align, composite, decode, edit, encode, invert, occlude, stitch, tune
from tasks.runtime.code_digest import CodeIndex, code_digest, code_digests

STAGES = [
    decode.decode_video, align.align_faces, occlude.find_occlusions, invert.invert_faces, tune.tune_weights,
    edit.edit_faces, stitch.stitch_faces, composite.composite_faces, encode.encode_video,
]  # fmt: skip

STAGE = '''
from toy.blur import blur
from toy import shapes
from toy.shapes import Box
import numpy as np

def stage(out, box: Box):
    """Blurs."""
    from toy.late import late
    return shapes.grow(blur(np.zeros(box.side())), late)

def unreached():
    return 1
'''
BLUR = """
SIGMA = 3.0  # px

def blur(values):
    if values is None:
        raise ValueError(f"nothing to blur: {values}")
    return _weigh(values) * SIGMA

def _weigh(values):
    return values / 2
"""
SHAPES = """
from toy.blur import blur

class Box:
    def side(self):
        return 4

def grow(box, late):
    return blur(box)

def shrink(box):
    return box
"""
LATE = "late = 5\n"


def closure(folder: Path, **changes: tuple[str, str]) -> dict[str, str]:
    """Of the toy stage, with `module=(old, new)` replaced in the source."""
    files = {"stage": STAGE, "blur": BLUR, "shapes": SHAPES, "late": LATE}
    (folder / "toy").mkdir(exist_ok=True)
    for name, text in files.items():
        old, new = changes.get(name, ("", ""))
        assert old in text
        (folder / "toy" / f"{name}.py").write_text(text.replace(old, new) if old else text)
    return CodeIndex(folder, ("toy",)).closure("toy.stage", "stage")


def test_everything_that_is_reached_is_found_and_nothing_else(tmp_path: Path) -> None:
    assert set(closure(tmp_path)) == {
        "toy.stage.stage", "toy.blur.SIGMA", "toy.blur.blur", "toy.blur._weigh", "toy.shapes.Box", "toy.shapes.grow",
        "toy.late.late",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("module", "old", "new", "changed"),
    [
        ("blur", "values / 2", "values / 3", "toy.blur._weigh"),
        ("blur", "SIGMA = 3.0", "SIGMA = 2.0", "toy.blur.SIGMA"),
        ("blur", "values is None", "values == 0", "toy.blur.blur"),
        ("shapes", "return 4", "return 5", "toy.shapes.Box"),
        ("shapes", "return blur(box)", "return blur(box) + 1", "toy.shapes.grow"),
        ("late", "5", "6", "toy.late.late"),
        ("stage", "np.zeros", "np.ones", "toy.stage.stage"),
        ("blur", "raise ValueError", "raise KeyError", "toy.blur.blur"),
    ],
)
def test_a_change_that_counts_is_named(tmp_path: Path, module: str, old: str, new: str, changed: str) -> None:
    before, after = closure(tmp_path), closure(tmp_path, **{module: (old, new)})

    assert before.keys() == after.keys()
    assert [name for name in before if before[name] != after[name]] == [changed]


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("blur", "  # px", "  # pixels of the crop"),
        ("blur", "nothing to blur", "there is nothing to blur"),
        ("blur", "return values / 2", "return (\n        values / 2\n    )"),
        ("blur", "def _weigh(values):", "def _weigh(values: int) -> float:"),
        ("blur", "def _weigh(values):\n", 'def _weigh(values):\n    """Half of it."""\n'),
        ("stage", '"""Blurs."""', '"""Blurs more."""'),
        ("stage", "return 1", "return 2"),
        ("shapes", "return box\n", "return -box\n"),
    ],
)
def test_a_change_that_decides_nothing_changes_nothing(tmp_path: Path, module: str, old: str, new: str) -> None:
    assert closure(tmp_path) == closure(tmp_path, **{module: (old, new)})


def test_modules_that_import_each_other_are_no_trap(tmp_path: Path) -> None:
    found = closure(tmp_path, blur=("SIGMA = 3.0", "from toy import shapes\nSIGMA = 3.0"))

    assert found == closure(tmp_path)


def test_a_new_helper_is_found(tmp_path: Path) -> None:
    found = closure(
        tmp_path, blur=("return values / 2", "return _half(values)\n\ndef _half(values):\n    return values / 2")
    )

    assert "toy.blur._half" in found


def test_every_stage_has_its_own_code() -> None:
    assert len({code_digest(inspect.unwrap(stage.fn)) for stage in STAGES}) == len(STAGES)


def test_a_stage_depends_on_the_networks_that_it_uses_and_on_no_others() -> None:
    reached = {stage.name: " ".join(code_digests(inspect.unwrap(stage.fn))) for stage in STAGES}

    assert "stitchedit.stitch.stitch_face" in reached["stitch"]
    assert "stitchedit.nets.mobile_stylegan.MobileStyleGAN" in reached["stitch"]
    assert "stitchedit.nets.encoder.Encoder" in reached["invert"]
    assert "stitchedit.nets.face_parsing" in reached["align"]
    assert "stitchedit.nets" not in reached["decode"]
    assert "stitchedit.nets" not in reached["composite"].replace("stitchedit.nets.face_parsing", "")
    assert "storage.arrays.frame_array" not in reached["align"]
