"""Speed of a GPU, and agreement with the CPU. One command, without Prefect, store or video.

    python benchmarks/device.py                        # on the GPU if there is one, else on the CPU; at most 6 minutes
    python benchmarks/device.py --device cpu --sizes 256
    python benchmarks/device.py --json out/device.json

Needs only `stitchedit`: PyTorch, NumPy, SciPy, OpenCV, jaxtyping, safetensors. A network whose package is missing gets
seeded random weights. First every stage is timed: milliseconds per call, images per second, peak memory, share of the
time in which the device is busy. Then the device is compared with the CPU's float32, in float32, TF32 and bfloat16,
each with its tolerance.
Exit code 1: a difference exceeds its tolerance.
"""

import argparse
import gc
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # runs without an installation

import numpy as np
import torch
from device_networks import Networks, load_networks
from torch import Tensor
from torch.nn import functional as F

from stitchedit.invert import Course, Footage, Inverter
from stitchedit.nets.face_parsing import parse_faces
from stitchedit.nets.occlusion import visible_logits
from stitchedit.optimize.descent import DescentState
from stitchedit.optimize.gradients import Gradients
from stitchedit.options.invert import InvertOptions
from stitchedit.options.stitch import StitchOptions
from stitchedit.options.tune import TuneOptions
from stitchedit.stitch import SeamTarget, fresh_copy, settle, stitch_face
from stitchedit.tune import Pivots, Tuner

FACES = 8  # of the synthetic clip
LONG_S = 0.15  # longer calls are not profiled
STEPS = 3  # of each optimization that is compared


@dataclass(frozen=True)
class Arithmetic:
    """Arithmetic of the device."""

    name: str
    dtype: torch.dtype | None = None  # autocast
    tf32: bool = False
    captures: bool = True  # CUDA graphs
    tolerance: float = 1e-3  # relative error of an image, ‖x − reference‖ / ‖reference‖


EAGER = Arithmetic("float32, kernel by kernel", captures=False)
KINDS = [
    Arithmetic("float32"),
    Arithmetic("TF32", tf32=True, tolerance=1e-2),
    Arithmetic("bfloat16", torch.bfloat16, tf32=True, tolerance=0.1),
]


@dataclass(frozen=True)
class Check:
    what: str
    size: int
    arithmetic: str
    error: float
    tolerance: float

    @property
    def holds(self) -> bool:
        return self.error <= self.tolerance  # NaN does not


@dataclass(frozen=True)
class Timing:
    what: str
    size: int
    arithmetic: str
    ms: float  # of a step, or of a batch
    images_per_s: float
    peak_mib: float  # NaN on a CPU
    busy: float  # share of the time in which a kernel runs; NaN on a CPU


class Scene:
    """Synthetic clip of one size on one device: codes, images of slightly different codes, masks."""

    def __init__(self, networks: Networks, cpu: Networks, size: int, device: torch.device) -> None:
        self.networks, self.size, self.device = networks, size, device
        noise = torch.Generator().manual_seed(size)
        generator = cpu.generator
        with torch.no_grad():
            w = generator.mapping(torch.randn(FACES, 512, generator=noise))
            w = torch.lerp(generator.w_mean, w, 0.6)
            codes = w[:, None].expand(-1, generator.layers, -1) + 0.05 * torch.randn(
                FACES, generator.layers, 512, generator=noise
            )
            moved = codes + 0.1 * torch.randn(codes.shape, generator=noise)
            crops = torch.cat([generator(code[None], size) for code in moved]).clamp(-1, 1)
        self.codes, self.crops = codes.to(device), crops.to(device)
        self.inside = torch.zeros(1, 1, size, size, device=device)
        self.inside[..., size // 4 : -size // 4, size // 4 : -size // 4] = 1
        self.border = 1 - self.inside

    def on(self, networks: Networks, device: torch.device) -> "Scene":
        """The same clip on another device."""
        moved = copy(self)
        moved.networks, moved.device = networks, device
        for name in ("codes", "crops", "inside", "border"):
            setattr(moved, name, getattr(self, name).to(device))
        return moved

    def pivots(self) -> Pivots:
        return Pivots(self.codes, lambda rows: self.crops[rows], self.size)

    def footage(self) -> Footage:
        return Footage(lambda rows: self.crops[rows], np.zeros(FACES, int), self.size)

    def covered(self, rows: np.ndarray) -> Tensor:
        """Mask of an occluder in front of the left half of a face."""
        mask = torch.zeros(len(rows), 1, self.size, self.size, device=self.device)
        mask[..., : self.size // 2] = 1
        return mask

    def seam(self, row: int) -> tuple[Tensor, SeamTarget]:
        code, edited = self.codes[[row]], self.crops[[(row + 1) % FACES]]
        return code, SeamTarget(self.crops[[row]], self.border, edited, self.inside)


# Functions that are compared and timed. Each returns its result as a tensor, on the device of the scene.


def generate(scene: Scene, kind: Arithmetic) -> Tensor:
    with torch.no_grad():
        return scene.networks.generator(scene.codes, scene.size)


def perceive(scene: Scene, kind: Arithmetic) -> Tensor:
    with torch.no_grad():
        return scene.networks.perceptual(scene.crops, scene.crops.flip(0))


def encode(scene: Scene, kind: Arithmetic) -> Tensor:
    with torch.no_grad(), _autocast(scene, kind):
        return scene.networks.encoder(scene.crops).float()


def parse(scene: Scene, kind: Arithmetic) -> Tensor:
    with torch.no_grad(), _autocast(scene, kind):
        return scene.networks.parser(F.interpolate(scene.crops[:4], (512, 512), mode="bilinear")).float()


def occlude(scene: Scene, kind: Arithmetic) -> Tensor:
    with torch.no_grad(), _autocast(scene, kind):
        return visible_logits(scene.networks.occlusion, scene.crops).float()


def tune(scene: Scene, kind: Arithmetic) -> Tensor:
    """Return the losses, not the weights: Adam divides by the gradient's size, which amplifies rounding of weights."""
    tuner = tuner_of(scene, kind)
    for step in range(STEPS):
        tuner(np.array([step % FACES, (step + 3) % FACES]))
    tuner.save()
    return torch.tensor(tuner.state.losses)


def tune_covered(scene: Scene, kind: Arithmetic) -> Tensor:
    """Tune with an occluder in front of every face, which is not learned; return the losses."""
    covered = Pivots(scene.codes, lambda rows: scene.crops[rows], scene.size, scene.covered)
    tuner = tuner_of(scene, kind, covered)
    for step in range(STEPS):
        tuner(np.array([step % FACES, (step + 3) % FACES]))
    tuner.save()
    return torch.tensor(tuner.state.losses)


def resume(scene: Scene, kind: Arithmetic) -> Tensor:
    """Tune, save, and resume with another tuner; return the losses, which must equal those of `tune`."""
    first = tuner_of(scene, kind)
    first(np.array([0, 3]))
    first.save()
    saved = {name: value.clone() for name, value in first.state.tensors.items()}
    second = tuner_of(scene, kind, state=DescentState(1, list(first.state.losses), saved))
    for step in range(1, STEPS):
        second(np.array([step % FACES, (step + 3) % FACES]))
    second.save()
    return torch.tensor(second.state.losses)


def tuner_of(scene: Scene, kind: Arithmetic, pivots: Pivots | None = None, state: DescentState | None = None) -> Tuner:
    generator = fresh_copy(scene.networks.generator)
    gradients = partial(Gradients, captures=kind.captures)
    return Tuner(generator, scene.networks.perceptual, pivots or scene.pivots(), TuneOptions(), state, gradients)


def invert(scene: Scene, kind: Arithmetic) -> Tensor:
    """Return the losses, as `tune` does."""
    course = Course()
    inverter_of(scene, kind, STEPS, STEPS).person(scene.codes[:1], course)
    return torch.tensor(course.state.losses)


def inverter_of(scene: Scene, kind: Arithmetic, coarse: int, fine: int) -> Inverter:
    options = InvertOptions(refine_steps=coarse, color_steps=fine)
    gradients = partial(Gradients, captures=kind.captures)
    return Inverter(scene.networks.generator, scene.networks.perceptual, scene.footage(), options, gradients)


def stitch(scene: Scene, kind: Arithmetic) -> Tensor:
    generator = settled(scene, kind, STEPS)
    options = StitchOptions(steps=STEPS, stop_below=0)
    return stitch_face(generator, *scene.seam(0), options).crop


def settled(scene: Scene, kind: Arithmetic, steps: int):
    generator = fresh_copy(scene.networks.generator)
    seams = [scene.seam(row) for row in range(2)]
    settle(generator, seams, StitchOptions(settle_steps=steps), gradients=partial(Gradients, captures=kind.captures))
    return generator


COMPARED: list[Callable[[Scene, Arithmetic], Tensor]] = [generate, perceive, tune, invert, stitch]
AT_256: list[Callable[[Scene, Arithmetic], Tensor]] = [tune_covered, resume, encode, parse, occlude]


def _autocast(scene: Scene, kind: Arithmetic):
    return torch.autocast(scene.device.type, kind.dtype or torch.bfloat16, enabled=kind.dtype is not None)


@contextmanager
def computing(networks: Networks, kind: Arithmetic) -> Iterator[None]:
    """Compute with the arithmetic `kind`, then restore float32."""
    networks.compute_in(kind.dtype)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = kind.tf32
    try:
        yield
    finally:
        networks.compute_in(None)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def relative_error(found: Tensor, reference: Tensor) -> float:
    found, reference = found.double().cpu(), reference.double().cpu()
    return float((found - reference).norm() / reference.norm())


def compare(cpu: Networks, here: Networks, size: int, device: torch.device, report: Callable[[Check], None]) -> None:
    """Compare every network and optimization of `size` with the CPU's float32."""
    reference = Scene(cpu, cpu, size, torch.device("cpu"))
    scene = reference.on(here, device)
    kinds = KINDS if device.type == "cuda" else [KINDS[-1]]
    for run in [*COMPARED, *(AT_256 if size == 256 else [])]:
        expected = run(reference, EAGER)
        for kind in kinds:
            with computing(here, kind):
                error = relative_error(run(scene, kind), expected)
            report(Check(run.__name__, size, kind.name, error, kind.tolerance))


Call = tuple[Callable[[], object], int]
"""Function that is timed, and its number of images."""


def optimizations(scene: Scene, kind: Arithmetic) -> dict[str, Call]:
    """Calls of the training loops, by name."""
    tuner, rows = tuner_of(scene, kind), np.array([0, 3])
    warm = settled(scene, kind, 1)
    one_step = StitchOptions(steps=1, stop_below=0)
    calls: dict[str, Call] = {
        "tune, 2 steps of 2 faces": (lambda: (tuner(rows), tuner(rows)), 4),
        "settle, 48 steps": (partial(_settle, scene, kind), 48),
        "stitch, 1 step and its check": (lambda: stitch_face(warm, *scene.seam(0), one_step), 1),
        "invert, 36 steps of 1 face": (lambda: inverter_of(scene, kind, 0, 36).person(scene.codes[:1]), 36),
    }
    if scene.size == 256:
        coarse = inverter_of(scene, kind, 30, 0)
        calls["invert, 30 steps of 4 faces at 128 px"] = (lambda: coarse.person(scene.codes[:1]), 120)
    return calls


def passes(scene: Scene, kind: Arithmetic) -> dict[str, Call]:
    """Calls of the networks alone, by name."""
    calls: dict[str, Call] = {
        "generate, 8 faces": (partial(generate, scene, kind), FACES),
        "LPIPS, 8 pairs": (partial(perceive, scene, kind), FACES),
    }
    if scene.size == 256:
        calls |= {
            "encoder, 8 faces": (partial(encode, scene, kind), FACES),
            "parsing, 4 faces at 512 px": (partial(parse, scene, kind), 4),
            "parsing one by one, 8 faces at 512 px": (partial(_parse_one_by_one, scene, kind), FACES),
            "occlusion, 8 faces": (partial(occlude, scene, kind), FACES),
        }
    return calls


def time_all(scene: Scene, each_s: float, report: Callable[[Timing], None]) -> None:
    """Time everything at the size of `scene`, in every arithmetic of its device."""
    for kind in [EAGER, *KINDS] if scene.device.type == "cuda" else [EAGER]:
        with computing(scene.networks, kind):
            calls = optimizations(scene, kind)
            if kind is not EAGER or scene.device.type == "cpu":  # inference is not captured
                calls |= passes(scene, kind)
            for what, (call, images) in calls.items():
                ms, peak, busy = timed(call, scene.device, each_s)
                report(Timing(what, scene.size, kind.name, ms, 1000 * images / ms, peak, busy))
        if scene.device.type == "cuda":
            del calls
            gc.collect()
            torch.cuda.empty_cache()


def _settle(scene: Scene, kind: Arithmetic) -> None:
    settled(scene, kind, 48)


def _parse_one_by_one(scene: Scene, kind: Arithmetic) -> None:
    with _autocast(scene, kind):
        parse_faces(scene.networks.parser, F.interpolate(scene.crops, (512, 512), mode="bilinear"))


def timed(call: Callable[[], object], device: torch.device, budget_s: float) -> tuple[float, float, float]:
    """Median milliseconds of a call, peak MiB, share of the time in which the device is busy."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    call()
    wait()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds: list[float] = []
    while not seconds or (sum(seconds) < budget_s and len(seconds) < 50):
        began = time.perf_counter()
        call()
        wait()
        seconds.append(time.perf_counter() - began)
    median = float(np.median(seconds))
    if device.type != "cuda":
        return 1000 * median, float("nan"), float("nan")
    # The profiler takes seconds to read many thousand kernels.
    busy = _busy(call, wait) if median < LONG_S else float("nan")
    return 1000 * median, torch.cuda.max_memory_allocated() / 2**20, busy


def _busy(call: Callable[[], object], wait: Callable[[], None]) -> float:
    from torch.profiler import ProfilerActivity, profile  # noqa: PLC0415

    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        began = time.perf_counter()
        call()
        wait()
        took = time.perf_counter() - began
    return sum(event.self_device_time_total for event in seen.key_averages()) / 1e6 / took


class Report:
    """Writes rows to the terminal and to a file as soon as they are measured."""

    def __init__(self, path: Path | None, about: dict[str, object]) -> None:
        self.path, self.about = path, about
        self.checks: list[Check] = []
        self.timings: list[Timing] = []

    def check(self, check: Check) -> None:
        self.checks.append(check)
        print(
            f"{'ok  ' if check.holds else 'OFF '} {check.what:<10} {check.size:>5} px  {check.arithmetic:<10} "
            f"error {check.error:.2e} (tolerance {check.tolerance:.0e})",
            flush=True,
        )
        self._save()

    def timing(self, timing: Timing) -> None:
        self.timings.append(timing)
        print(
            f"{timing.what:<38} {timing.size:>5} px  {timing.arithmetic:<26} {timing.ms:9.2f} ms "
            f"{timing.images_per_s:8.1f} images/s {timing.peak_mib:8.0f} MiB  busy {timing.busy:.2f}",
            flush=True,
        )
        self._save()

    def _save(self) -> None:
        if self.path:
            rows = {"checks": [asdict(row) for row in self.checks], "timings": [asdict(row) for row in self.timings]}
            self.path.write_text(json.dumps(self.about | rows, indent=1))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024], help="px")
    parser.add_argument("--each", type=float, default=0.6, help="seconds that each row is timed for")
    parser.add_argument("--skip-checks", action="store_true")
    parser.add_argument("--json", type=Path, help="write all rows there as they come")
    options = parser.parse_args()
    began, device = time.monotonic(), torch.device(options.device)
    cpu = load_networks()
    here = cpu.on(device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or platform.machine()
    about: dict[str, object] = {"device": name, "torch": torch.__version__, "threads": torch.get_num_threads()}
    about["weights"] = cpu.origins
    print(about, flush=True)
    report = Report(options.json, about)
    for size in options.sizes:
        time_all(Scene(cpu, cpu, size, torch.device("cpu")).on(here, device), options.each, report.timing)
    for size in [] if options.skip_checks else options.sizes:
        compare(cpu, here, size, device, report.check)
    print(f"{time.monotonic() - began:.0f} s")
    return 0 if all(check.holds for check in report.checks) else 1


if __name__ == "__main__":
    sys.exit(main())
