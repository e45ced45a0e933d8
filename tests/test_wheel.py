"""The built wheel works outside of a checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PACKAGES = ("flows", "tasks", "stitchedit", "configs", "storage", "deploy", "tests")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the wheel was unpacked into."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in PACKAGES:  # not in the checkout: setuptools would reuse what an earlier build left there
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", folder / "source"]
    subprocess.run([*build, "--wheel-dir", str(folder)], check=True, cwd=folder)
    (wheel,) = folder.glob("stitchedit-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(installed: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = "from flows.cli.main import main; import flows, sys; print(flows.__file__, file=sys.stderr); main()"
    environment = os.environ | {"PYTHONPATH": str(installed)}
    return subprocess.run(
        [sys.executable, "-P", "-c", command, *words],
        cwd=installed.parent, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "file",
    [
        "configs/pretrained.yaml",
        "configs/presets/draft.yaml",
        "deploy/prefect.yaml",
        "deploy/pools/docker.yaml",
        "deploy/automations/failures-are-told.yaml",
        "stitchedit/weights/encoder.safetensors",
        "stitchedit/py.typed",
        "tasks/reporting/report.html.j2",
    ],
)
def test_the_wheel_holds_what_is_read_at_run_time(installed: Path, file: str) -> None:
    assert (installed / file).is_file()


def test_the_wheel_holds_no_tests(installed: Path) -> None:
    assert not (installed / "tests").exists()


def test_the_version_is_that_of_the_project(installed: Path) -> None:
    done = run(installed, "--version")
    assert str(installed) in done.stderr
    assert done.stdout.startswith("stitchedit 0.")


def test_a_plan_is_made_outside_of_a_checkout(installed: Path, clip: Path, tmp_path: Path) -> None:
    words = [
        str(clip),
        "--edit",
        "smile=2",
        "-o",
        str(tmp_path / "out.mp4"),
        "--store",
        str(tmp_path / "store"),
        "--json",
    ]
    done = run(installed, "plan", *words)
    assert done.returncode == 0, done.stderr
    assert '"decode"' in done.stdout


def test_deploying_needs_a_server_and_no_checkout(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "night.yaml").write_text("catalog: night\nconsent_required: false\nclips: []\n")
    done = run(installed, "deploy", "--catalog", str(tmp_path / "night.yaml"), "--store", str(tmp_path / "store"))
    assert (done.returncode, "PREFECT_API_URL is not set" in done.stderr) == (2, True)
