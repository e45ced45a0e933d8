"""Constants of an OpenVINO IR (a graph in XML, its numbers in a .bin beside it), read without OpenVINO."""

from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np

from stitchedit.errors import WeightsError

NUMPY_TYPE = {"f32": np.float32, "i32": np.int32, "i64": np.int64}


class Constant(NamedTuple):
    name: str
    value: np.ndarray


def read_constants(graph: Path) -> list[Constant]:
    """Constants of `graph` in file order, which is the order in which the network uses them.

    Raises:
        WeightsError: an element type we do not know, or numbers past the end of the .bin.
    """
    numbers = graph.with_suffix(".bin").read_bytes()
    constants = []
    for layer in ElementTree.parse(graph).iter("layer"):
        if layer.get("type") != "Const":
            continue
        name, data = layer.get("name", ""), layer.find("data")
        if data is None or data.get("element_type") not in NUMPY_TYPE:
            raise WeightsError(f"{graph}: constant {name!r} has no readable data. Reinstall the package it is from.")
        shape = [int(side) for side in (data.get("shape") or "").split(",") if side.strip()]
        start, size = int(data.get("offset", 0)), int(data.get("size", 0))
        if start + size > len(numbers):
            raise WeightsError(
                f"{graph.with_suffix('.bin')} ends at byte {len(numbers)}, {name!r} needs {start + size}."
            )
        dtype = np.dtype(NUMPY_TYPE[data.attrib["element_type"]])
        value = np.frombuffer(numbers, dtype, count=size // dtype.itemsize, offset=start).reshape(shape)
        constants.append(Constant(name, value))
    return constants
