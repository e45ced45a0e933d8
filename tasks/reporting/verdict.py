"""What `measure` thought of an edit, for those who only ask: read without PyTorch."""

import json
from pathlib import Path

from stitchedit.measure.verdict import Verdict

MEASURES = "measures.json"


def read_verdict(folder: Path) -> Verdict:
    """What `measure` wrote into its artifact."""
    words = json.loads((folder / MEASURES).read_text(encoding="utf-8"))
    return Verdict(words["verdict"], tuple(words["reasons"]))
