"""Choices from files and from the command line, checked and frozen. `DictConfig` never leaves this file."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from configs.plain_yaml import read_yaml
from configs.schema import RunConfig
from configs.user_text import check_references
from stitchedit.errors import InputError, UnknownNameError
from stitchedit.options.invert import LARGEST_SEED

SHOWN = 40  # characters of a value that is refused
MAX_DOTS = 8  # in the name of an option
PRESETS = Path(__file__).parent / "presets"
TRAINING = Path(__file__).parent / "train"

Options = TypeVar("Options")


def preset_names() -> list[str]:
    """Names that `load_config` takes."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def load_config(preset: str, overrides: Sequence[str] = ()) -> RunConfig:
    """Defaults, then the preset's YAML, then `stage.option=value` overrides; the last one wins.

    Raises:
        UnknownNameError: no such preset.
        InputError: an option that does not exist, or a value it does not take.
    """
    if preset not in preset_names():  # never a path
        raise UnknownNameError("preset", preset, preset_names())
    path = PRESETS / f"{preset}.yaml"
    for override in overrides:
        _check_form(override)
    try:
        return _merged(RunConfig, path, overrides)
    except (OmegaConfBaseException, ValueError) as error:
        raise InputError(f"{_told(error)} Options are listed by `stitchedit options`.") from error


def load_options(name: str | Path, schema: type[Options], overrides: Sequence[str] = ()) -> Options:
    """Options of one dataclass: its defaults, then a YAML, then `option=value` overrides; the last one wins.

    Args:
        name: of a file of configs/train, or the path of any other.

    Raises:
        UnknownNameError: no such file.
        InputError: an option that does not exist, or a value it does not take.
    """
    path = name if isinstance(name, Path) else TRAINING / f"{name}.yaml"
    if not path.is_file():
        raise UnknownNameError("file of options", str(name), [known.stem for known in TRAINING.glob("*.yaml")])
    known = [field.name for field in fields(schema)]  # type: ignore[arg-type]
    for override in overrides:
        option, equals, _ = override.partition("=")
        if not equals:
            raise InputError(f"{override!r} is not OPTION=VALUE, such as {known[0]}=….")
        if option.split(".")[0] not in known or option.count(".") > MAX_DOTS:
            raise UnknownNameError("option", option, known)
    try:
        return _merged(schema, path, overrides)
    except (OmegaConfBaseException, ValueError) as error:
        raise InputError(f"{path.name}: {_told(error)}") from error


def option_names() -> list[str]:
    """Every `stage.option` there is."""
    return [f"{stage}.{option}" for stage, options in asdict(RunConfig()).items() for option in options]


def _merged(schema: type[Options], path: Path, overrides: Sequence[str]) -> Options:
    """One dataclass of `schema`'s defaults, what the YAML at `path` says, and the overrides."""
    try:
        told = read_yaml(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML: {_told(error)}") from error
    check_references(told)
    merged = OmegaConf.merge(OmegaConf.structured(schema), OmegaConf.create(told), _parsed(overrides))
    _check_numbers(OmegaConf.to_container(merged), "")
    options = OmegaConf.to_object(merged)
    assert isinstance(options, schema)
    return options


def _parsed(overrides: Sequence[str]) -> Any:
    """The overrides as one tree. `OmegaConf.from_dotlist` would read `1:30` as 90, as YAML 1.1 has it."""
    tree = OmegaConf.create()
    for override in overrides:
        name, _, text = override.partition("=")
        try:
            value = read_yaml(text)
        except yaml.YAMLError as error:
            raise InputError(f"{name}={text[:40]!r} is no value ({str(error).splitlines()[0]}). Quote text.") from error
        check_references({name: value})
        OmegaConf.update(tree, name, value)
    return tree


def _check_numbers(value: Any, name: str) -> None:
    """Refuse NaN, infinity and what needs more than 64 bits in every option, whatever its dataclass checks.

    Raises:
        InputError: the name and the number.
    """
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _check_numbers(inner, f"{name}.{key}".removeprefix("."))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            _check_numbers(inner, f"{name}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{name} is {value}. Give a finite number.")
    elif isinstance(value, int) and abs(value) > LARGEST_SEED:
        raise InputError(f"{name} must lie within ±{LARGEST_SEED}, got {str(value)[:SHOWN]}.")


def _check_form(override: str) -> None:
    name, equals, _ = override.partition("=")
    if not equals:
        raise InputError(f"{override!r} is not STAGE.OPTION=VALUE, such as stitch.steps=40.")
    known = option_names()
    option, _, key = name.rpartition(".")  # a name within an option, as of a direction in edit.strengths
    if name not in known and (option not in known or not key):
        close = get_close_matches(name, known, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else "`stitchedit options` lists them."
        raise InputError(f"No option {name!r}. {hint}")


def _told(error: Exception) -> str:
    """The first line of an error, with the name of the option that it is about."""
    line = str(error).strip().splitlines()[0]
    option = getattr(error, "full_key", None)
    named = line if not option or str(option) in line else f"{option}: {line}"
    return named if named.endswith((".", "?")) else f"{named}."
