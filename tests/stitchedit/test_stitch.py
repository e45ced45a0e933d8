"""Stitching tuning of a whole generator at toy size."""

import pytest
import torch
from torch.nn import functional as F

from stitchedit.errors import OptimizationError
from stitchedit.options.stitch import StitchOptions
from stitchedit.stitch import SeamTarget, fresh_copy, settle, stitch_face

TOY = {"steps": 60, "learning_rate": 2e-3, "stop_below": 0.0}


@pytest.fixture
def masks():
    """A border around a square, and the content in it."""
    border, content = torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)
    border[..., 4:28, 4:28], content[..., 8:24, 8:24] = 1, 1
    return border - content, content


@pytest.fixture
def target(toy_generator, toy_codes, masks):
    """The border of a face near the edited one; the content of the edited one, as the generator draws it."""
    code, other = toy_codes(1), toy_codes(1, seed=8)
    source = toy_generator(torch.lerp(code, other, 0.4), 32)
    return SeamTarget(source, masks[0], toy_generator(code, 32), masks[1])


def test_the_ring_gets_lower(toy_generator, toy_codes, target):
    stitched = stitch_face(fresh_copy(toy_generator), toy_codes(1), target, StitchOptions(**TOY))

    assert stitched.steps == 60
    assert stitched.ring_after < 0.6 * stitched.ring_before


def test_ring_errors_are_in_levels(toy_generator, toy_codes, target):
    stitched = stitch_face(fresh_copy(toy_generator), toy_codes(1), target, StitchOptions(**TOY))

    for crop, reported in ((target.edited, stitched.ring_before), (stitched.crop, stitched.ring_after)):
        inside = ((crop - target.source) * 127.5)[target.border.expand(-1, 3, -1, -1) == 1]
        assert reported == pytest.approx(inside.square().mean().sqrt().item(), rel=1e-4)


def test_a_seam_that_meets_already_takes_no_step(toy_generator, toy_codes, target):
    meets = SeamTarget(target.edited, target.border, target.edited, target.content)
    tuned = fresh_copy(toy_generator)
    stitched = stitch_face(
        tuned, toy_codes(1), meets, StitchOptions(stop_below=1e-6), lambda *reported: pytest.fail("a step was taken")
    )

    assert stitched.steps == 0
    assert torch.equal(stitched.crop, target.edited)
    assert all(torch.equal(a, b) for a, b in zip(tuned.parameters(), toy_generator.parameters(), strict=True))


def test_it_stops_as_soon_as_the_border_is_below_the_threshold(toy_generator, toy_codes, target):
    borders = []
    options = StitchOptions(**TOY)
    stitch_face(fresh_copy(toy_generator), toy_codes(1), target, options, lambda step, b, c: borders.append(b))
    threshold = sorted(borders)[len(borders) // 2]
    first = next(step for step, border in enumerate(borders) if border < threshold)

    options = StitchOptions(**TOY | {"stop_below": threshold})
    stitched = stitch_face(fresh_copy(toy_generator), toy_codes(1), target, options)

    assert stitched.steps == first


def test_no_steps_give_the_edited_face_as_it_is(toy_generator, toy_codes, target):
    stitched = stitch_face(fresh_copy(toy_generator), toy_codes(1), target, StitchOptions(steps=0, stop_below=0))

    assert torch.equal(stitched.crop, target.edited)
    assert stitched.ring_before == stitched.ring_after > 0


def test_a_heavier_content_keeps_more_of_the_edit(toy_generator, toy_codes, target):
    def lost(content_weight):
        options = StitchOptions(**TOY, content_weight=content_weight)
        crop = stitch_face(fresh_copy(toy_generator), toy_codes(1), target, options).crop
        return F.mse_loss(crop[..., 8:24, 8:24], target.edited[..., 8:24, 8:24]).item()

    assert lost(1.0) < lost(0.0)


def test_a_warm_start_continues_from_the_frame_before(toy_generator, toy_codes, target):
    tuned = fresh_copy(toy_generator)
    first = stitch_face(tuned, toy_codes(1), target, StitchOptions(**TOY))
    second = stitch_face(tuned, toy_codes(1), target, StitchOptions(steps=0))

    assert second.ring_before == pytest.approx(first.ring_after, rel=1e-5)


def test_the_original_does_not_change(toy_generator, toy_codes, target):
    before = {name: value.clone() for name, value in toy_generator.state_dict().items()}
    stitch_face(fresh_copy(toy_generator), toy_codes(1), target, StitchOptions(steps=2, stop_below=0))

    assert all(torch.equal(value, before[name]) for name, value in toy_generator.state_dict().items())


def test_a_loss_that_is_not_finite_names_the_option_to_lower(toy_generator, toy_codes, target):
    broken = SeamTarget(target.source * torch.nan, target.border, target.edited, target.content)
    with pytest.raises(OptimizationError, match=r"became nan at step 0\. Lower stitch\.learning_rate"):
        stitch_face(fresh_copy(toy_generator), toy_codes(1), broken, StitchOptions())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": -1}, r"stitch\.steps must be >= 0"),
        ({"chunk": 0}, r"stitch\.chunk >= 1"),
        ({"learning_rate": 0}, r"stitch\.learning_rate must be > 0, got 0"),
    ],
)
def test_options_name_what_is_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        StitchOptions(**options)


def test_a_settled_generator_meets_every_face_of_the_run(toy_generator, toy_codes, masks):
    codes, other = [toy_codes(1, seed=seed) for seed in (0, 1)], toy_codes(1, seed=8)
    seams = [
        (code, SeamTarget(toy_generator(torch.lerp(code, other, 0.4), 32), masks[0], toy_generator(code, 32), masks[1]))
        for code in codes
    ]
    options, reported = StitchOptions(**TOY, settle_steps=60), []
    settled = fresh_copy(toy_generator)
    settle(settled, seams, options, reported.append)

    assert reported == list(range(60))
    for code, target in seams:
        before, after = (
            stitch_face(fresh_copy(one), code, target, StitchOptions(steps=0)) for one in (toy_generator, settled)
        )
        assert after.ring_after < 0.75 * before.ring_after


def test_a_frame_of_a_settled_run_takes_small_steps(toy_generator, toy_codes, target):
    """The weights of one frame after the other have to stay near each other, or the face flickers."""

    def moved(options):
        tuned = fresh_copy(toy_generator)
        stitch_face(tuned, toy_codes(1), target, options.of_frames())
        pairs = zip(tuned.parameters(), toy_generator.parameters(), strict=True)
        return max((one - other).abs().max().item() for one, other in pairs)

    alone, following = (
        StitchOptions(steps=5, stop_below=0.0, learning_rate=1e-3, follow_rate=1e-5, settle_steps=steps)
        for steps in (0, 48)
    )
    assert moved(following) < 0.05 * moved(alone)
