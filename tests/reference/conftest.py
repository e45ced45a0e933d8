"""Numbers made with the published code. They lie beside the repository, in shared/reference (see its README)."""

from collections.abc import Callable
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "shared" / "reference"


@pytest.fixture(scope="session")
def reference() -> Callable[[str], Path]:
    """`reference(name)` is the path of one file; the test is skipped where it is not to be had."""

    def path(name: str) -> Path:
        if not (FOLDER / name).exists():
            pytest.skip(f"no {FOLDER / name}: parity with the published code can only be tested where it is")
        return FOLDER / name

    return path
