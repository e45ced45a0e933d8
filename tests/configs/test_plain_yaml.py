"""YAML without implicit conversions."""

import math
from typing import Any

import pytest
import yaml

from configs.plain_yaml import read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1:30", "1:30"),  # PyYAML's own loader: 90
        ("1:0.5", "1:0.5"),  # 60.5
        ("-1:30:00", "-1:30:00"),
        ("0:1", "0:1"),
        ("0:0,2:1", "0:0,2:1"),
        ("010", "010"),  # 8
        ("2026-10-01", "2026-10-01"),
        ("no", "no"),
        ("on", "on"),
        ("trueish", "trueish"),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("0", 0),
        ("-12", -12),
        ("+1_000", 1000),
        ("0x1F", 31),
        ("2.5", 2.5),
        (".5", 0.5),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("3e-5", 3e-5),
        ("1.5E+3", 1500.0),
        ("-.inf", -math.inf),
        ("nan", "nan"),
        ("'1'", "1"),
        ("[1, 1:30]", [1, "1:30"]),
        ("{smile: 1:0}", {"smile": "1:0"}),
    ],
)
def test_a_value_is_read_without_implicit_conversion(text: str, value: Any) -> None:
    read = read_yaml(text)

    assert (type(read), read) == (type(value), value)


def test_nan_is_read_as_such() -> None:
    assert math.isnan(read_yaml(".nan"))


@pytest.mark.parametrize("text", ["&a [*a]", "{a: &a [1, *a]}", "[" * 5000, "[1", "'", "\x07", "!!python/none x"])
def test_other_yaml_is_rejected(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        read_yaml(text)
