"""Choices from files and from the command line, checked and frozen. `DictConfig` never leaves this file."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from configs.schema import RunConfig
from stitchedit.errors import InputError, UnknownNameError

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
    path = PRESETS / f"{preset}.yaml"
    if not path.exists():
        raise UnknownNameError("preset", preset, preset_names())
    for override in overrides:
        _check_form(override)
    try:
        layers = [OmegaConf.structured(RunConfig), OmegaConf.load(path), OmegaConf.from_dotlist(list(overrides))]
        config = OmegaConf.to_object(OmegaConf.merge(*layers))
    except (OmegaConfBaseException, ValueError) as error:
        raise InputError(f"{_first_line(error)} Options are listed by `stitchedit options`.") from error
    assert isinstance(config, RunConfig)
    return config


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
        if option.split(".")[0] not in known:
            raise UnknownNameError("option", option, known)
    try:
        layers: list[Any] = [OmegaConf.structured(schema), OmegaConf.load(path), OmegaConf.from_dotlist([*overrides])]
        options = OmegaConf.to_object(OmegaConf.merge(*layers))
    except (OmegaConfBaseException, ValueError) as error:
        raise InputError(f"{path.name}: {_first_line(error)}") from error
    assert isinstance(options, schema)
    return options


def option_names() -> list[str]:
    """Every `stage.option` there is."""
    return [f"{stage}.{option}" for stage, options in asdict(RunConfig()).items() for option in options]


def _check_form(override: str) -> None:
    name, equals, _ = override.partition("=")
    if not equals:
        raise InputError(f"{override!r} is not STAGE.OPTION=VALUE, such as stitch.steps=40.")
    known = option_names()
    if name not in known and not any(name.startswith(f"{option}.") for option in known):
        close = get_close_matches(name, known, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else "`stitchedit options` lists them."
        raise InputError(f"No option {name!r}. {hint}")


def _first_line(error: Exception) -> str:
    line = str(error).strip().splitlines()[0]
    return line if line.endswith((".", "?")) else f"{line}."
