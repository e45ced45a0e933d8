"""Numbers computed with the published code.

Those in `data/` ship with the project; `data/README.md` says where they come from. Larger ones lie in shared/reference,
beside some checkouts.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

SHIPPED = Path(__file__).parent / "data"
SHARED = Path(__file__).parents[3] / "shared" / "reference"


@pytest.fixture(scope="session")
def reference() -> Callable[[str], Path]:
    """`reference(name)` finds a file; a test that needs a file that does not ship is skipped without it."""

    def path(name: str) -> Path:
        if (SHIPPED / name).exists():
            return SHIPPED / name
        if not (SHARED / name).exists():
            pytest.skip(f"{name} is too large to ship and not in {SHARED}")
        return SHARED / name

    return path
