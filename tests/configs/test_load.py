"""Options: defaults, then a preset, then overrides from the command line."""

import dataclasses
from pathlib import Path
from typing import get_type_hints

import pytest

from configs.load import TRAINING, load_config, load_options, option_names, preset_names
from configs.schema import RunConfig
from stitchedit.errors import InputError, UnknownNameError
from stitchedit.train.directions import DirectionOptions


def test_the_default_preset_equals_the_defaults() -> None:
    assert load_config("default") == RunConfig()


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_is_valid(preset: str) -> None:
    assert isinstance(load_config(preset), RunConfig)


def test_the_last_override_wins() -> None:
    assert load_config("draft").align.size == 256 != load_config("default").align.size
    assert load_config("draft", ["align.size=512"]).align.size == 512
    assert load_config("draft", ["stitch.steps=7"]).stitch.steps == 7
    assert load_config("draft", ["stitch.steps=7", "stitch.steps=8"]).stitch.steps == 8


def test_an_override_changes_only_its_option() -> None:
    expected = dataclasses.replace(RunConfig(), stitch=dataclasses.replace(RunConfig().stitch, steps=7))

    assert load_config("default", ["stitch.steps=7"]) == expected


def test_options_that_may_be_off_take_null_and_numbers() -> None:
    assert load_config("default", ["decode.end=1.5"]).decode.end == 1.5
    assert load_config("default", ["decode.end=1.5", "decode.end=null"]).decode.end is None


def test_strengths_are_set_by_name() -> None:
    assert load_config("default", ["edit.strengths.smile=2.0", "edit.strengths.age=-3"]).edit.strengths == {
        "smile": 2.0,
        "age": -3.0,
    }


NUMBERS = [
    f"{stage}.{option}"
    for stage, options in get_type_hints(RunConfig).items()
    for option, kind in get_type_hints(options).items()
    if kind in {int, float, float | None}
]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", ".nan", ".inf", "-.inf", "1e999"])
@pytest.mark.parametrize("option", [*NUMBERS, "edit.strengths.smile"])
def test_every_option_rejects_values_that_are_not_finite(option: str, value: str) -> None:
    with pytest.raises(InputError, match=rf"(?i){option.replace('.', '[.]')}.*(nan|inf|'1e999')"):
        load_config("default", [f"{option}={value}"])


def test_every_numeric_option_is_tested() -> None:
    assert {"align.side", "decode.end", "encode.crf", "detect.min_iou", "measure.worst", "shots.cut"} <= set(NUMBERS)
    assert len(NUMBERS) > 70


def test_every_training_option_rejects_values_that_are_not_finite() -> None:
    with pytest.raises(InputError, match=r"ridge\[1\] is inf"):
        load_options("directions", DirectionOptions, ["ridge=[1.0,.inf]"])
    with pytest.raises(InputError, match=r"fit\.smile\.strength is nan"):
        load_options("directions", DirectionOptions, ["fit.smile.strength=.nan"])


def test_times_and_shares_are_not_read_in_base_60(tmp_path: Path) -> None:
    overrides = ["edit.strengths.smile=1", "edit.ramps.smile=1:0.5", "edit.shots.smile=1:0"]
    edit = load_config("default", overrides).edit
    assert (edit.ramps, edit.shots) == ({"smile": "1:0.5"}, {"smile": "1:0"})

    path = tmp_path / "mine.yaml"
    path.write_text("measured: 1:30\n")
    with pytest.raises(InputError, match=r"measured: Value '1:30'"):
        load_options(path, DirectionOptions)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stitch.stpes=7", r"No option 'stitch\.stpes'\. Did you mean 'stitch\.steps'\?"),
        ("stich.steps=7", r"Did you mean 'stitch\.steps'\?"),
        ("xyz=7", r"No option 'xyz'\. `stitchedit options` lists them\."),
        ("stitch=7", "No option 'stitch'"),
        ("stitch.steps", r"'stitch\.steps' is not STAGE\.OPTION=VALUE"),
        ("stitch.steps=some", r"Options are listed by `stitchedit options`\."),
        ("stitch.steps=-1", r"stitch\.steps must be >= 0"),
        ("align.side=0", r"align\.side must be > 0"),
        ("align.size=300", r"align\.size must be 0 .*128, 256, 512, 1024 px, got 300"),
        ("align.smallest_size=0", r"align\.smallest_size must be in \[1, 1024\] px, got 0"),
        ("align.center_sigma=61", r"align\.center_sigma must be in \[0, 60\] s, got 61"),
        ("composite.edge=513", r"composite\.edge must be in \[0, 512\] px, got 513"),
        ("occlude.grow=65", r"occlude\.grow must be in \[0, 64\] px of 64, got 65"),
        ("invert.color_steps=-1", r"invert\.color_steps must be >= 0, got -1"),
        ("invert.learning_rate=0", r"invert\.learning_rate must be > 0, got 0"),
        ("invert.mse_weight=-1", r"invert\.mse_weight must be >= 0, got -1"),
        ("tune.patience=-1", r"tune\.patience must be >= 0, got -1"),
        ("tune.locality_distance=0", r"tune\.locality_distance must be > 0, got 0"),
        ("tune.seed=-1", r"tune\.seed must be in \[0, 9223372036854775807\], got -1"),
        ("stitch.content_weight=-1", r"stitch\.content_weight must be >= 0, got -1"),
        ("measure.strength_review=-1", r"measure\.strength_review must be 0 or more, got -1"),
        ("edit.max_strength=0", r"edit\.max_strength must be > 0, got 0"),
        ("decode.start=-0.1", r"decode\.start must be 0 s or more, got -0\.1 s"),
        ("decode.end=0", r"decode\.end must be > 0 s, got 0 s"),
        ("encode.codec=nope", r"encode\.codec 'nope' is no video encoder"),
    ],
)
def test_an_invalid_override_is_reported_with_the_way_out(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_config("default", [override])


def test_an_unknown_preset_is_reported_with_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match=r"No preset 'drafts'\. Did you mean 'draft'\?"):
        load_config("drafts")


@pytest.mark.parametrize(
    "override",
    [
        "edit.directions=${oc.env:STITCHEDIT_TEST_SECRET}",
        "edit.directions='${oc.env:STITCHEDIT_TEST_SECRET}'",
        'edit.directions="\\x24{oc.env:STITCHEDIT_TEST_SECRET}"',
        "encode.codec=${oc.env:STITCHEDIT_TEST_SECRET}",
        "edit.ramps={smile: '${oc.env:STITCHEDIT_TEST_SECRET}'}",
        "edit.ramps.smile=${oc.decode:1}",
        "align.size=${stitch.steps}",
    ],
)
def test_options_do_not_resolve_references(override: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STITCHEDIT_TEST_SECRET", "hush-hush")
    with pytest.raises(InputError, match="is not looked up here") as caught:
        load_config("default", ["edit.strengths.smile=1", override])
    assert "hush" not in str(caught.value)


def test_a_file_of_options_does_not_resolve_references(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("measured: ${oc.env:HOME}\n")
    with pytest.raises(InputError, match="is not looked up here"):
        load_options(path, DirectionOptions)
    path.write_text("fit: &a {frown: *a}\n")
    with pytest.raises(InputError, match="inside of what it repeats"):
        load_options(path, DirectionOptions)


@pytest.mark.parametrize(
    "value",
    ["[" * 5000, "[" * 900 + "]" * 900, "{a: &a [x], b: &b [" + "*a," * 9 + "], c: &c [*c]}", "{smile: [", "!!int x"],
)
def test_an_option_that_cannot_be_parsed_is_reported(value: str) -> None:
    with pytest.raises(InputError, match=r"edit\.ramps|Options are listed"):
        load_config("default", [f"edit.ramps={value}"])


def test_a_name_of_thousands_of_parts_is_rejected() -> None:
    with pytest.raises(InputError, match="No option"):
        load_config("default", ["edit.strengths" + ".a" * 5000 + "=1"])
    with pytest.raises(UnknownNameError):
        load_options("directions", DirectionOptions, ["fit" + ".a" * 5000 + "=1"])


@pytest.mark.parametrize(
    "preset", ["../presets/draft", "../train/directions", str(TRAINING / "directions"), "draft\0", "", "."]
)
def test_a_preset_is_a_name_not_a_path(preset: str) -> None:
    with pytest.raises(UnknownNameError, match="No preset"):
        load_config(preset)


def test_every_option_has_a_name() -> None:
    names = option_names()

    assert {"align.size", "tune.passes", "encode.crf", "edit.strengths"} <= set(names)
    assert len(names) == len(set(names))


def test_options_of_one_dataclass_come_from_its_file_and_the_last_override_wins() -> None:
    options = load_options("directions", DirectionOptions, ["measured=30", "fit.smile.layers=0-3"])

    assert isinstance(options, DirectionOptions)
    assert options.measured == 30
    assert options.fit["smile"].layers == "0-3"
    assert options.fit["smile"].score == "smile"
    assert options.ridge == DirectionOptions.ridge


def test_options_can_come_from_any_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("measured: 7\nfit: {frown: {score: smile, may_change: [age]}}\n")

    options = load_options(path, DirectionOptions)

    assert options.measured == 7
    assert list(options.fit) == ["frown"]
    assert options.fit["frown"].may_change == ("age",)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("mesured=3", "No option 'mesured'. Did you mean 'measured'?"),
        ("measured", "'measured' is not OPTION=VALUE"),
        ("measured=some", r"directions\.yaml: .*Integer"),
        ("measured=1", r"directions\.yaml: .*directions\.measured and directions\.tried >= 2"),
        ("fit.smile.layers=9-3", "Layers '9-3' are not FIRST-LAST"),
        ("fit.smile.layer=3-9", r"directions\.yaml: .*layer"),
    ],
)
def test_a_mistake_in_training_options_is_reported(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_options("directions", DirectionOptions, [override])


def test_a_missing_file_of_options_is_reported_with_the_nearest_name() -> None:
    assert (TRAINING / "directions.yaml").is_file()
    with pytest.raises(UnknownNameError, match=r"No file of options 'direction'\. Did you mean 'directions'\?"):
        load_options("direction", DirectionOptions)
