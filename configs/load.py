"""Options from files and from the command line, validated and frozen.

`DictConfig` never leaves this file.
"""

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

SHOWN = 40  # characters of a rejected value in an error message
MAX_DOTS = 8  # in the name of an option
PRESETS = Path(__file__).parent / "presets"
TRAINING = Path(__file__).parent / "train"

Options = TypeVar("Options")


def preset_names() -> list[str]:
    """Names of the presets, sorted."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def load_config(preset: str, overrides: Sequence[str] = ()) -> RunConfig:
    """Merge the defaults, the preset's YAML and `stage.option=value` overrides; the last one wins.

    Raises:
        UnknownNameError: no such preset.
        InputError: an option does not exist, or a value is not valid.
    """
    if preset not in preset_names():  # never a path
        raise UnknownNameError("preset", preset, preset_names())
    path = PRESETS / f"{preset}.yaml"
    for override in overrides:
        _check_form(override)
    try:
        return _merged(RunConfig, path, overrides)
    except (OmegaConfBaseException, ValueError) as error:
        raise InputError(f"{_first_line(error)} Options are listed by `stitchedit options`.") from error


def load_options(name: str | Path, schema: type[Options], overrides: Sequence[str] = ()) -> Options:
    """Merge the defaults of one dataclass, a YAML file and `option=value` overrides.

    The last one wins.

    Args:
        name: of a file in configs/train, or the path of another file.

    Raises:
        UnknownNameError: no such file.
        InputError: an option does not exist, or a value is not valid.
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
        raise InputError(f"{path.name}: {_first_line(error)}") from error


def option_names() -> list[str]:
    """Names of all options, as `stage.option`."""
    return [f"{stage}.{option}" for stage, options in asdict(RunConfig()).items() for option in options]


def _merged(schema: type[Options], path: Path, overrides: Sequence[str]) -> Options:
    """Merge `schema`'s defaults, the YAML at `path` and the overrides into one dataclass."""
    try:
        values = read_yaml(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML: {_first_line(error)}") from error
    check_references(values)
    merged = OmegaConf.merge(OmegaConf.structured(schema), OmegaConf.create(values), _parsed(overrides))
    _check_numbers(OmegaConf.to_container(merged), "")
    options = OmegaConf.to_object(merged)
    assert isinstance(options, schema)
    return options


def _parsed(overrides: Sequence[str]) -> Any:
    """Parse the overrides into one tree. `OmegaConf.from_dotlist` would read `1:30` as 90, as in YAML 1.1."""
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
    """Reject NaN, infinity and integers of more than 64 bits in every option, whatever its dataclass checks.

    Raises:
        InputError: with the name and the number.
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
    option, _, key = name.rpartition(".")  # a key of a mapping option, such as a direction in edit.strengths
    if name not in known and (option not in known or not key):
        close = get_close_matches(name, known, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else "`stitchedit options` lists them."
        raise InputError(f"No option {name!r}. {hint}")


def _first_line(error: Exception) -> str:
    """First line of an error, with the name of the option if it has one."""
    line = str(error).strip().splitlines()[0]
    option = getattr(error, "full_key", None)
    named = line if not option or str(option) in line else f"{option}: {line}"
    return named if named.endswith((".", "?")) else f"{named}."
