"""`stitchedit directions`: fit a direction to a table of scores and use it in an edit."""

import csv
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from configs.load import load_options
from flows.cli.directions import code_of_seed, effects_table, read_score_file
from flows.cli.known_edits import measured_effects
from flows.edit_job import resolve
from flows.edit_request import Edit, EditRequest
from flows.training.score_table import complete_scores, load_scores
from flows.training.train_directions import measure_directions
from stitchedit.errors import InputError, UnknownNameError
from stitchedit.measure.appearance import score_names
from stitchedit.train.directions import DirectionOptions, DirectionPlan
from storage.weights.state_dict import load_tensors, save_tensors
from tasks.runtime import networks
from tasks.runtime.pretrained import pretrained

SUCCESS, INVALID = 0, 2
SEEDS = range(400)
TRUNCATION = 0.7


@pytest.fixture
def directions(stitchedit, monkeypatch, tmp_path):
    """`directions(*arguments)` returns exit code, standard output and standard error of `stitchedit directions`."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: stitchedit("directions", *arguments)


@pytest.fixture(scope="module")
def codes() -> torch.Tensor:
    generator = networks.generator("cpu")
    return torch.stack([code_of_seed(generator, seed, TRUNCATION) for seed in SEEDS])


@pytest.fixture(scope="module")
def planted() -> np.ndarray:
    """A direction of W orthogonal to the gradients of all packaged scores."""
    known = np.stack([*load_tensors_of("score_gradients").values()], axis=1)
    basis, _ = np.linalg.qr(known)
    direction = np.random.default_rng(0).standard_normal(len(known))
    direction -= basis @ (basis.T @ direction)
    return direction / np.linalg.norm(direction)


def load_tensors_of(name: str) -> dict[str, np.ndarray]:
    return load_tensors(pretrained()[name].verified())


@pytest.fixture
def table(tmp_path, codes, planted) -> Path:
    """A table of scores that increase along the planted direction and along age."""
    age = load_tensors_of("score_gradients")["age"]
    return write_table(tmp_path / "scores.csv", codes.numpy() @ (planted + age / np.linalg.norm(age)))


def write_table(path: Path, values, columns=("seed", "score")) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *zip(SEEDS, values, strict=False)])
    return path


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_a_direction_is_fitted_without_the_scores_kept_constant(directions, table, planted, tmp_path):
    code, out, err = directions("fit", "mine", "--scores", table, "--layers", "3-9", "--keep", "age,gender")
    assert (code, err) == (SUCCESS, "")
    assert "stitchedit edit CLIP --edit mine=+2 edit.directions=mine.safetensors" in out

    found = load_tensors(tmp_path / "mine.safetensors")["mine"]

    assert np.flatnonzero(found.any(axis=1)).tolist() == list(range(3, 10))
    assert np.linalg.norm(found[3]) == pytest.approx(1.0, abs=1e-5)
    assert abs(cosine(found[3], load_tensors_of("score_gradients")["age"])) < 1e-3
    assert cosine(found[3], planted) > 0.5


def test_a_direction_contains_age_unless_it_is_kept_constant(directions, table, tmp_path):
    directions("fit", "mine", "--scores", table, "--keep", "none")
    found = load_tensors(tmp_path / "mine.safetensors")["mine"]
    assert cosine(found[5], load_tensors_of("score_gradients")["age"]) > 0.3


def test_a_second_direction_is_added_to_the_same_file(directions, table, tmp_path):
    for name in ("one", "two"):
        assert directions("fit", name, "--scores", table, "-o", "own.safetensors")[0] == SUCCESS
    assert set(load_tensors(tmp_path / "own.safetensors")) == {"one", "two"}


def test_rows_without_a_score_are_skipped(tmp_path):
    path = write_table(tmp_path / "scores.csv", ["", 2.5, "  ", -1])
    seeds, values = read_score_file(path)
    assert seeds == [1, 3]
    assert values.tolist() == [2.5, -1.0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("seed,value\n1,2\n", r"no column score; its first line has seed, value"),
        ("", r"no column seed and no score; its first line has nothing"),
        ("seed,score\n1,2\n2,much\n", r"line 3: '2', 'much' is not an integer seed and a number"),
        ("seed,score\n1,nan\n", r"line 2: 1, nan cannot be used\. Leave the score empty"),
        ("seed,score\n1,1\n2,2\n", r"2 scores are too few to fit a direction: give 20"),
        ("seed,score\n" + "".join(f"{seed},3\n" for seed in range(30)), r"All 30 scores are 3"),
    ],
)
def test_an_invalid_table_is_reported_with_the_line(directions, tmp_path, content, message):
    path = tmp_path / "scores.csv"
    path.write_text(content)
    code, _, err = directions("fit", "mine", "--scores", path)
    assert code == INVALID
    assert re.search(message, err), err
    assert not (tmp_path / "mine.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "smile"], "'smile' is a packaged direction. Give yours another name, such as my_smile."),
        (["fit", "2nd"], "'2nd' is not a valid direction name"),
        (["fit", "mine", "--keep", "age,wit"], "--keep: unknown score wit. Known: age,"),
        (["fit", "mine", "--layers", "9-2"], "Layers '9-2' are not FIRST-LAST, such as 4-9."),
        (["fit", "mine", "--layers", "4-16"], "Layers 4-16 do not exist: a code has rows 0 to 15."),
    ],
)
def test_invalid_arguments_are_reported_with_a_remedy(directions, table, arguments, message):
    code, _, err = directions(*arguments, "--scores", table)
    assert code == INVALID
    assert message in err


def test_no_such_table(directions):
    assert (
        "There is no file gone.csv. `stitchedit directions samples` writes one"
        in directions("fit", "mine", "--scores", "gone.csv")[2]
    )


def test_samples_are_images_named_for_their_seed_and_a_table(directions, tmp_path):
    assert directions("samples", "--count", 2, "--output", "faces")[0] == SUCCESS

    names = sorted(path.name for path in (tmp_path / "faces").iterdir())
    assert names == ["000000.png", "000001.png", "scores.csv"]
    assert (tmp_path / "faces" / "scores.csv").read_text().split() == ["seed,score", "0,", "1,"]
    shown = cv2.imread(str(tmp_path / "faces" / "000001.png"))[..., ::-1]
    code = code_of_seed(networks.generator("cpu"), 1, TRUNCATION)
    with torch.no_grad():
        generated = networks.generator("cpu")(code.expand(1, 16, -1), 256)[0].permute(1, 2, 0)
    np.testing.assert_allclose(shown, ((generated.clamp(-1, 1) + 1) * 127.5).numpy(), atol=1)


def test_more_samples_do_not_overwrite_a_table_with_scores(directions, tmp_path):
    directions("samples", "--count", 1, "--output", "faces")
    (tmp_path / "faces" / "scores.csv").write_text("seed,score\n0,5\n")
    directions("samples", "--count", 2, "--output", "faces")
    assert (tmp_path / "faces" / "scores.csv").read_text() == "seed,score\n0,5\n"


def test_help_shows_examples(directions):
    assert "stitchedit directions fit freckles --scores faces/scores.csv" in directions("fit", "--help")[1]


def own_file(path: Path, name: str, shape=(16, 512)) -> Path:
    save_tensors(path, {name: np.ones(shape, np.float32)}, {})
    return path


def request(clip: Path, tmp_path: Path, own: Path, name: str) -> EditRequest:
    return EditRequest(
        video=clip,
        edits=[Edit(direction=name, strength=1)],
        output=tmp_path / "out.mp4",
        options=[f"edit.directions={own}"],
    )


def test_an_edit_may_use_own_and_packaged_directions(clip, tmp_path):
    own = own_file(tmp_path / "own.safetensors", "freckles")
    for name in ("freckles", "smile"):
        assert resolve(request(clip, tmp_path, own, name)).output == tmp_path / "out.mp4"
    with pytest.raises(UnknownNameError, match=r"No direction 'frecles'\. Did you mean 'freckles'\?"):
        resolve(request(clip, tmp_path, own, "frecles"))


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("freckles", (512,), r"'freckles' is \(512,\), and a direction is \(16, 512\), layer by channel"),
        ("smile", (16, 512), r"'smile' is the name of a packaged direction"),
        ("9a", (16, 512), r"'9a' is no name of a direction: letters, digits and _"),
    ],
)
def test_a_file_with_invalid_directions_is_refused(clip, tmp_path, name, shape, message):
    own = own_file(tmp_path / "own.safetensors", name, shape)
    with pytest.raises(InputError, match=message):
        resolve(request(clip, tmp_path, own, name))


def test_a_file_of_another_format_is_refused(clip, tmp_path):
    (tmp_path / "own.safetensors").write_text("freckles")
    with pytest.raises(InputError, match=r"own\.safetensors cannot be read as a file of directions"):
        resolve(request(clip, tmp_path, tmp_path / "own.safetensors", "freckles"))


def test_an_own_file_is_identified_by_its_bytes(clip, tmp_path):
    first = request(clip, tmp_path, own_file(tmp_path / "a.safetensors", "freckles"), "freckles")
    second = request(clip, tmp_path, own_file(tmp_path / "b.safetensors", "freckles"), "freckles")
    other = request(clip, tmp_path, own_file(tmp_path / "c.safetensors", "moles"), "moles")
    digests = [resolve(request).directions.digest for request in (first, second, other)]
    assert digests[0] == digests[1] != digests[2]


def test_an_interrupted_table_is_resumed(tmp_path):
    path, scored = tmp_path / "scores.csv", []

    def score(sample: int) -> dict[str, float]:
        scored.append(sample)
        return {"a": sample / 8, "b": 1.0} if sample != 7 else {}

    complete_scores(path, [3, 5], ["a", "b"], score)
    path.write_text(path.read_text() + "7,0.1")  # interrupted within a row
    found = complete_scores(path, [3, 5, 7, 9], ["a", "b"], score)

    assert scored == [3, 5, 7, 9]
    np.testing.assert_array_equal(found["a"], [0.375, 0.625, np.nan, 1.125])
    assert set(load_scores(path, ["a", "b"])) == {3, 5, 7, 9}
    with pytest.raises(InputError, match=r"has columns sample, a, b, not sample, a, c"):
        load_scores(path, ["a", "c"])


def test_effects_are_measured_on_images(tmp_path):
    """Two faces moved along yaw turn according to the strength."""
    options = DirectionOptions(measured=2, fit={"yaw": DirectionPlan("yaw", strength=3.0)})
    yaw = {"yaw": networks.directions()["yaw"].numpy()}

    found = measure_directions(yaw, tmp_path, options, lambda what, done, total: None)["yaw"]

    assert found.faces == 2
    assert set(found.changes) == set(score_names())
    assert found.changes["yaw"] > 5
    assert 0.05 < found.identity < 0.6


def test_the_packaged_directions_agree_with_the_options():
    options = load_options("directions", DirectionOptions)
    measured = measured_effects()["directions"]
    assert set(measured) == set(options.fit) == set(networks.directions())
    assert len(measured) >= 12
    for name, plan in options.fit.items():
        rows = np.flatnonzero(networks.directions()[name].numpy().any(axis=1))
        assert f"{rows.min()}-{rows.max()}" == plan.layers == measured[name]["layers"]
        assert measured[name]["strength"] == plan.strength
        assert measured[name]["faces"] >= 190


def test_the_table_of_effects_in_the_model_card_is_up_to_date():
    card = Path(networks.__file__).parents[2] / "stitchedit" / "weights" / "README.md"
    assert effects_table(measured_effects()) in card.read_text()
