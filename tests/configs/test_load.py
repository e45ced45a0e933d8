"""Choices: defaults, then a preset, then what the command line says."""

import dataclasses

import pytest

from configs.load import load_config, option_names, preset_names
from configs.schema import RunConfig
from stitchedit.errors import InputError, UnknownNameError


def test_the_default_preset_is_the_defaults() -> None:
    assert load_config("default") == RunConfig()


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_is_a_configuration(preset: str) -> None:
    assert isinstance(load_config(preset), RunConfig)


def test_the_last_word_wins() -> None:
    assert load_config("draft").align.size == 256 != load_config("default").align.size
    assert load_config("draft", ["align.size=512"]).align.size == 512
    assert load_config("draft", ["stitch.steps=7"]).stitch.steps == 7
    assert load_config("draft", ["stitch.steps=7", "stitch.steps=8"]).stitch.steps == 8


def test_an_override_touches_nothing_else() -> None:
    expected = dataclasses.replace(RunConfig(), stitch=dataclasses.replace(RunConfig().stitch, steps=7))

    assert load_config("default", ["stitch.steps=7"]) == expected


def test_options_that_may_be_off_take_null_and_numbers() -> None:
    assert load_config("default", ["decode.end=1.5"]).decode.end == 1.5
    assert load_config("default", ["decode.end=1.5", "decode.end=null"]).decode.end is None


def test_strengths_are_given_by_name() -> None:
    assert load_config("default", ["edit.strengths.smile=2.0", "edit.strengths.age=-3"]).edit.strengths == {
        "smile": 2.0,
        "age": -3.0,
    }


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
        ("encode.codec=nope", r"encode\.codec 'nope' is not built in"),
    ],
)
def test_a_mistake_is_told_with_the_way_out(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_config("default", [override])


def test_an_unknown_preset_is_told_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"No preset 'drafts'\. Did you mean 'draft'\?"):
        load_config("drafts")


def test_every_option_has_a_name() -> None:
    names = option_names()

    assert {"align.size", "tune.passes", "encode.crf", "edit.strengths"} <= set(names)
    assert len(names) == len(set(names))
