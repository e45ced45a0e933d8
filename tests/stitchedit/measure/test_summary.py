"""Numbers of tracks from those of faces, against their formulas."""

from dataclasses import replace

import numpy as np
import pytest

from stitchedit.measure.appearance import score_names
from stitchedit.measure.face import COLUMNS
from stitchedit.measure.summary import (
    MeasuredFaces,
    ScoreFacts,
    quality_numbers,
    scored_rows,
    summarize_tracks,
    worst_faces,
)
from stitchedit.options.edit import EditOptions
from stitchedit.options.measure import MeasureOptions

FACTS = ScoreFacts({"smile": "smile", "older": "age"}, dict.fromkeys(score_names(), 2.0))
SMILE = EditOptions(strengths={"smile": -2.0})


@pytest.fixture
def faces():
    """Two tracks, of four faces and of two."""
    random = np.random.default_rng(0)
    embeddings = random.normal(size=(6, 2, 128)) * 0.05 + np.eye(128)[0]
    before = random.normal(size=(6, len(score_names())))
    return MeasuredFaces(
        frames=np.array([3, 4, 5, 6, 9, 10]),
        runs=np.array([0, 0, 0, 0, 2, 2]),
        numbers=random.uniform(0.5, 1.5, (6, len(COLUMNS))),
        embeddings=embeddings / np.linalg.norm(embeddings, axis=2, keepdims=True),
        before=before,
        after=before + random.normal(size=before.shape),
    )


def change(faces, name, values):
    numbers = faces.numbers.copy()
    numbers[:, COLUMNS.index(name)] = values
    return replace(faces, numbers=numbers)


def test_scored_faces_are_spread_over_each_track():
    runs = np.array([0] * 10 + [1] * 3)
    assert np.flatnonzero(scored_rows(runs, 4)).tolist() == [0, 3, 6, 9, 10, 11, 12]


def test_a_track_of_one_face_has_no_identity_ratio(faces):
    one = MeasuredFaces(*(getattr(faces, name)[:1] for name in vars(faces)))
    assert np.isnan(one.identity).all()


def test_numbers_of_a_track_are_means_over_its_faces_and_the_largest_change_outside(faces):
    faces = change(faces, "outside", [0, 3, 1, 0, 0, 0])
    first, second = summarize_tracks(faces, SMILE, MeasureOptions(), FACTS)
    assert (first.track, first.frames, first.faces) == (0, (3, 6), 4)
    assert (second.track, second.frames, second.faces) == (2, (9, 10), 2)
    assert first.numbers["ring"] == pytest.approx(faces.numbers[:4, COLUMNS.index("ring")].mean())
    assert (first.numbers["outside"], second.numbers["outside"]) == (3, 0)
    source, result = (faces.column(name)[4:].mean() for name in ("warp_source", "warp_result"))
    assert second.numbers["warp_ratio"] == pytest.approx(result / source)


def test_identity_does_not_cross_from_one_track_into_the_next(faces):
    similar = (faces.embeddings[1:] * faces.embeddings[:-1]).sum(axis=2)
    ratios = similar[:, 1] / similar[:, 0]
    first, second = summarize_tracks(faces, SMILE, MeasureOptions(), FACTS)
    assert first.numbers["tl_id"] == pytest.approx(ratios[:3].mean())
    assert second.numbers["tl_id"] == pytest.approx(ratios[4])


def test_numbers_that_were_not_measured_are_left_out_of_means(faces):
    faces = change(faces, "lpips", [0.2, np.nan, np.nan, 0.4, np.nan, np.nan])
    first, second = summarize_tracks(faces, SMILE, MeasureOptions(), FACTS)
    assert first.numbers["lpips"] == pytest.approx(0.3)
    assert np.isnan(second.numbers["lpips"])
    assert "lpips could not be measured" in second.reasons


def test_strength_is_the_change_of_the_edited_score_and_all_others_are_side_effects(faces):
    first, _ = summarize_tracks(faces, SMILE, MeasureOptions(), FACTS)
    changes = (faces.after - faces.before)[:4].mean(axis=0)
    assert first.strength == {"smile": pytest.approx(changes[score_names().index("smile")])}
    assert first.side_effects["age"] == pytest.approx(changes[score_names().index("age")] / 2)
    assert set(first.side_effects) == set(score_names()) - {"smile"}


def test_a_negative_edit_has_to_lower_its_score(faces):
    column = score_names().index("smile")
    for shift, moved in ((-1.0, True), (1.0, False)):
        after = faces.before.copy()
        after[:, column] += shift
        first, _ = summarize_tracks(replace(faces, after=after), SMILE, MeasureOptions(), FACTS)
        assert any(reason.startswith("smile moved") for reason in first.reasons) != moved


def test_the_worst_face_is_the_one_furthest_beyond_a_bound(faces):
    options = MeasureOptions(worst=2, tl_id_review=0.02)
    faces = change(faces, "warp_result", faces.column("warp_source"))
    faces = change(faces, "ring", [0.1, 9.0, 0.1, 4.5, 0.1, 0.1])
    still = replace(faces, embeddings=np.repeat(faces.embeddings[:1, :1], 6, axis=0).repeat(2, axis=1))
    worst = worst_faces(still, np.arange(4), options)
    assert [(face.frame, face.row, face.why) for face in worst] == [
        (4, 1, "ring 9.0 levels"),
        (6, 3, "ring 4.5 levels"),
    ]


def test_quality_weighs_tracks_by_their_faces(faces):
    tracks = summarize_tracks(faces, SMILE, MeasureOptions(), FACTS)
    quality = quality_numbers(tracks)
    assert set(quality) == {"tl_id", "tg_id", "ring_levels", "warp_ratio", "outside", "smile"}
    assert quality["ring_levels"] == pytest.approx(faces.column("ring").mean())
    assert quality["smile"] == pytest.approx((faces.after - faces.before)[:, score_names().index("smile")].mean())
