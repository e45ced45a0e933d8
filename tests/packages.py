"""Files that come with packages: networks and clips."""

from importlib.util import find_spec
from pathlib import Path

import pytest


def package_file(package: str, *parts: str) -> Path:
    """Path inside an installed package, without importing it; skips the test if the package is missing."""
    found = find_spec(package)
    if found is None or found.origin is None:
        pytest.skip(f"needs the package {package}")
    return Path(found.origin).parent.joinpath(*parts)
