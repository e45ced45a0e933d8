"""Stitching of a track with a toy generator: warm starts, settling, and resumption from saved weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from stitchedit.options.masks import MaskOptions
from stitchedit.options.stitch import StitchOptions
from stitchedit.stitch_chain import StitchChain, StitchTrack

RUNS = np.array([0] * 7 + [1] * 3 + [4] * 6)  # with chunks of four, runs start within the second and the third
OPTIONS = StitchOptions(steps=2, settle_steps=2, learning_rate=1e-3, follow_rate=1e-3, stop_below=0.0, chunk=4)


@pytest.fixture
def track(toy_generator, toy_codes):
    codes = toy_codes(len(RUNS))
    labels = np.zeros((1, 512, 512), np.uint8)
    labels[:, 128:384, 128:384] = 1
    return StitchTrack(
        toy_generator, 32, RUNS, codes, torch.lerp(codes, toy_codes(1, seed=8), 0.4),
        crop_of=lambda row: torch.full((1, 3, 32, 32), row / 16), labels_of=lambda row: labels,
    )  # fmt: skip


def chain(track, saved, options=OPTIONS, **callbacks):
    return StitchChain(track, options, MaskOptions(), saved, **callbacks)


def stitched(stitch_chain, chunks=(0, 4, 8, 12)):
    faces = []
    for start in chunks:
        stitch_chain.stitch(slice(start, start + 4), faces.extend)
    return torch.cat([face.crop for face in faces])


@pytest.mark.parametrize(
    ("start", "saved", "parts"),
    [
        (0, [], [range(4)]),
        (4, [], [range(4), range(4, 8)]),
        (4, [4], [range(4, 8)]),
        (8, [], [range(7, 8), range(8, 12)]),
        (12, [], [range(10, 12), range(12, 16)]),
        (12, [4, 8], [range(10, 12), range(12, 16)]),
    ],
)
def test_stitching_goes_back_to_the_last_row_with_known_weights(track, start, saved, parts):
    assert list(chain(track, {row: {} for row in saved}).parts(slice(start, start + 4))) == parts


def test_without_a_warm_start_rows_are_independent_and_no_weights_are_saved(track):
    cold, saved = replace(OPTIONS, warm_start=False), {}
    alone = chain(track, saved, cold)
    assert list(alone.parts(slice(12, 16))) == [range(12, 16)]
    assert torch.equal(stitched(alone, [12]), stitched(chain(track, {}, cold))[12:])
    assert saved == {}


def test_a_chain_resumes_from_saved_weights_with_identical_crops(track):
    saved, rows = {}, []
    first = stitched(chain(track, saved), [0])
    resumed = chain(track, saved)
    later = []
    for start in (4, 8, 12):
        resumed.stitch(slice(start, start + 4), later.extend, rows.append)
    assert rows == list(range(4, 16))
    assert torch.equal(torch.cat([first, *(face.crop for face in later)]), stitched(chain(track, {})))


@pytest.mark.parametrize("start", [4, 8, 12])
def test_a_chunk_without_saved_weights_gets_identical_crops(track, start):
    assert torch.equal(stitched(chain(track, {}), [start]), stitched(chain(track, {}))[start : start + 4])


def test_weights_are_saved_until_those_after_the_next_chunk_are(track):
    saved, kept = {}, []
    stitch_chain = chain(track, saved)
    for start in (0, 4, 8, 12):
        stitch_chain.stitch(slice(start, start + 4), lambda faces: kept.append(sorted(saved)))
    assert [rows[-1:] for rows in kept] == [[4], [8], [12], [12]]
    assert sorted(saved) == []


def test_a_run_settles_once_and_not_again_after_an_interruption(track):
    saved, settled = {}, []
    for _ in range(2):
        stitch_chain = chain(track, saved, on_settle=lambda rows, step: settled.append((rows, step)))
        with pytest.raises(KeyboardInterrupt):
            stitch_chain.stitch(slice(0, 4), pytest.fail, interrupt)
    assert settled == [(range(7), 0), (range(7), 1)]


def interrupt(row):
    raise KeyboardInterrupt


@pytest.mark.parametrize("change", [{"warm_start": False}, {"settle_steps": 0}, {"steps": 0}])
def test_without_a_warm_start_or_steps_no_run_settles(track, change):
    stitch_chain = chain(track, {}, replace(OPTIONS, **change), on_settle=lambda *step: pytest.fail("it settled"))
    assert len(stitched(stitch_chain, [0])) == 4


def test_only_the_run_of_a_changed_code_changes(track):
    after = track.after.clone()
    after[5] += 0.5
    same = (after == track.after).all(dim=2).all(dim=1).numpy()
    unchanged = chain(track, {}).unchanged(same)
    assert unchanged.tolist() == [False] * 7 + [True] * 9
    crops, others = stitched(chain(track, {})), stitched(chain(replace(track, after=after), {}))
    assert torch.equal(crops[7:], others[7:])
    assert not any(torch.equal(crops[row], others[row]) for row in (5, 6))


@pytest.mark.parametrize("toward", ["source", "reconstruction"])
def test_the_border_is_matched_to_the_chosen_image(track, toward, toy_generator):
    kept = []
    chain(track, {}, replace(OPTIONS, toward=toward)).stitch(slice(0, 4), kept.extend)
    wanted = track.crop_of(2) if toward == "source" else toy_generator(track.before[[2]], 32)
    assert torch.equal(kept[2].matched, wanted)
