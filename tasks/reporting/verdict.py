"""Verdict of the stage `measure`, readable without PyTorch."""

import json
from pathlib import Path

from stitchedit.measure.verdict import Verdict

MEASURES = "measures.json"


def read_verdict(folder: Path) -> Verdict:
    """Read the verdict from an artifact of `measure`."""
    words = json.loads((folder / MEASURES).read_text(encoding="utf-8"))
    return Verdict(words["verdict"], tuple(words["reasons"]))
