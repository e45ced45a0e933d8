"""Damaged clips through decode and encode: no traceback, no crash, no hang, and no damage without a warning.

FUZZ_VARIANTS is the number of variants, FUZZ_SEED their seed. `make fuzz` runs 2,000. The test decodes the undamaged
clip and the output with plain PyAV, independent of our detection of damage. Not required is what cannot be detected
from the damaged file alone:

* the cut-off end of a transport or program stream, and packets left out at the end of any file: such files do not state
  their length;
* damage that is not visible: fewer than 2 % of the blocks of 16 × 16 pixels differ by more than 16 levels on average;
* 2 of 100 damaged clips: an arithmetic decoder that is out of step can end within the last bytes by chance, and codes
  without arithmetic coding (MPEG-2, MPEG-4) may be valid after a bit has changed.
"""

import json
import os
import select
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import pytest
from damaging import KINDS, damage_clip, encode_clip, leave_packets_out

VARIANTS, SEED = int(os.environ.get("FUZZ_VARIANTS", "200")), os.environ.get("FUZZ_SEED", "7")
TIMEOUT_S = 90
BLOCK_PX, VISIBLE_LEVELS, VISIBLE_SHARE = 16, 16, 0.02
MISSED_SHARE = 0.02
OPEN_ENDED = {".ts", ".mpg"}
# Words of warnings about missing frames.
LOSS = ("missing", "ends early", "no usable time", "one video stream is kept")
CHILD = Path(__file__).with_name("child.py")

Frames = list[tuple[float, np.ndarray]]  # seconds and luma


class Child:
    """The program under test, in a process that may crash."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(self, clip: Path, output: Path) -> dict[str, object]:
        """Outcome for a clip; `died` if the process crashed or hung."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[2],
            )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(clip), str(output)]) + "\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], TIMEOUT_S)
        line = self._process.stdout.readline() if ready else ""
        if line:
            return dict(json.loads(line))
        code = self._process.poll()
        self.close()
        return {"died": "hung" if code is None else f"exit {code}"}

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def child() -> Iterator[Child]:
    running = Child()
    yield running
    running.close()


@dataclass
class Judged:
    counts: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)  # tracebacks, crashes, hangs
    missed: list[str] = field(default_factory=list)  # damage without a warning


def test_no_damage_goes_without_a_warning(
    child: Child, packaged: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources, whole = {}, {}
    for name, kind in KINDS.items():
        sources[name] = tmp_path / f"{name}{kind.suffix}"
        encode_clip(kind, packaged("single_face.mp4"), sources[name])
        whole[name] = frames_of(sources[name])
    judged, names = Judged(), list(KINDS)
    for variant in range(VARIANTS):
        name = names[variant % len(names)]
        damaged, output = tmp_path / f"damaged{KINDS[name].suffix}", tmp_path / "out.mkv"
        output.unlink(missing_ok=True)
        what = damage_clip(sources[name], damaged, f"{SEED} {variant}")
        judge(judged, f"{name} {variant} {what}", whole[name], child.run(damaged, output), output)
    with capsys.disabled():
        print(f"\n{VARIANTS} variants, seed {SEED}: {dict(judged.counts)}", *judged.failed, *judged.missed, sep="\n")

    assert judged.failed == []
    assert judged.counts["visible"] > VARIANTS / 10
    assert len(judged.missed) <= MISSED_SHARE * (judged.counts["visible"] + judged.counts["lost"])


def judge(judged: Judged, label: str, whole: Frames, result: dict[str, object], output: Path) -> None:
    """Compare a result with the frames of the undamaged clip."""
    for end in ("died", "traceback", "refused"):
        if end in result:
            judged.counts[end] += 1
            if end != "refused":
                judged.failed.append(f"{label}: {result[end]}")
            return
    seconds, damaged, warnings = (result[name] for name in ("seconds", "damaged", "warnings"))
    assert isinstance(seconds, list)
    assert isinstance(damaged, list)
    assert isinstance(warnings, list)
    shown = frames_of(output)
    if len(shown) != len(seconds):
        judged.failed.append(f"{label}: {len(shown)} frames were written of {len(seconds)} that were read")
        return
    text = " ".join(warnings)
    places = [place_of(time, seconds) for time, _ in whole]
    if (
        sum(place is not None for place in places) < len(whole) / 2
    ):  # times from a damaged header: match frames by order
        judged.counts["other times"] += 1
        if len(shown) != len(whole):
            if not text:
                judged.missed.append(f"{label}: {len(shown)} frames of {len(whole)}, no warning")
            return
        places = list(range(len(whole)))
    lost = [number for number, place in enumerate(places) if place is None]
    if lost and not any(word in text for word in LOSS) and not is_unknowable(label, output, lost, places):
        judged.missed.append(f"{label}: frames {lost} are lost; {warnings}")
    pairs = [(number, place) for number, place in enumerate(places) if place is not None]
    visible = [(number, place) for number, place in pairs if is_visible(whole[number][1], shown[place][1])]
    silent = [number for number, place in visible if not damaged[place]]
    judged.counts["visible" if visible else "lost" if lost else "unharmed"] += 1
    if silent and "no usable time" not in text:
        judged.missed.append(f"{label}: frames {silent} are damaged; {warnings}")


def is_unknowable(label: str, output: Path, lost: list[int], places: list[int | None]) -> bool:
    """True if only frames at the end are lost, of a file that does not state its length."""
    last = max(number for number, place in enumerate(places) if place is not None)
    suffix = KINDS[label.split(maxsplit=1)[0]].suffix
    return min(lost) > last and (suffix in OPEN_ENDED or leave_packets_out.__name__ in label)


def place_of(time: float, seconds: list[float]) -> int | None:
    nearest = int(np.abs(np.array(seconds) - time).argmin())
    return nearest if abs(seconds[nearest] - time) < 2e-3 else None


def is_visible(before: np.ndarray, after: np.ndarray) -> bool:
    if before.shape != after.shape:
        return True
    height, width = (side // BLOCK_PX * BLOCK_PX for side in before.shape)
    difference = np.abs(before.astype(np.int16) - after)[:height, :width]
    blocks = difference.reshape(height // BLOCK_PX, BLOCK_PX, width // BLOCK_PX, BLOCK_PX).mean((1, 3))
    return bool((blocks > VISIBLE_LEVELS).mean() >= VISIBLE_SHARE)


def frames_of(path: Path) -> Frames:
    frames = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            plane = frame.planes[0]
            luma = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
            frames.append((float(frame.pts * frame.time_base), luma[: frame.height, : frame.width].copy()))
    return frames
