"""Every network file the project knows."""

from pathlib import Path

from storage.weights.pretrained import PretrainedFile, read_catalog

CATALOG = Path(__file__).parents[2] / "configs" / "pretrained.yaml"


def pretrained() -> dict[str, PretrainedFile]:
    """The files by name; see configs/pretrained.yaml."""
    return read_catalog(CATALOG)
