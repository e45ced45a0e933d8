"""Invalid requests are refused before decoding, with exit code 2 and without importing Prefect.

One child process runs all commands of the tables, because importing takes seconds, and reports their side effects.
"""

import json
import logging
import os
import subprocess
import sys
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from safetensors.numpy import save_file

from flows.edit_catalog import edit_catalog
from flows.edit_job import read_config
from flows.edit_request import EditRequest, FaceEdits
from flows.edit_video import edit_video
from stitchedit.errors import InputError
from tasks.runtime.directions import packaged_directions

CHILD = """
import contextlib, io, json, sys
import psutil
from flows.cli import main as cli

for arguments in json.load(sys.stdin):
    sys.argv, out, err, code = ["stitchedit", *arguments], io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
    children = [child.name() for child in psutil.Process().children(recursive=True)]
    facts = {"code": code, "out": out.getvalue(), "err": " ".join(err.getvalue().split()), "children": children}
    print(json.dumps(facts | {"prefect": "prefect" in sys.modules}), flush=True)
"""
SMILE = ("--edit", "smile=2")
HEAD = "catalog: n\nconsent_required: false\nclips:\n  - source: clip.mp4\n    "


@dataclass(frozen=True)
class Mistake:
    """Invalid arguments after `edit CLIP`, and the parts of the expected message: thing, number and remedy."""

    arguments: tuple[str, ...]
    message: tuple[str, ...]
    clip: str = "clip.mp4"
    edits: tuple[str, ...] = field(default=SMILE)

    @property
    def command(self) -> tuple[str, ...]:
        return (self.clip, *self.edits, *self.arguments)


MISTAKES = [
    Mistake(("--device", "foo"), ("device 'foo'", "auto, cpu, cuda")),
    Mistake(("--device", "mps"), ("device 'mps'", "auto, cpu, cuda")),
    Mistake(("--device", ""), ("device ''", "auto, cpu, cuda")),
    Mistake(("--device", "cuda:-1"), ("device 'cuda:-1'", "auto, cpu, cuda")),
    Mistake(("--device", "cuda"), ("--device cuda is not on this machine", "--device auto", "stitchedit doctor")),
    Mistake(("--device", "cuda:99"), ("--device cuda:99 is not on this machine", "--device auto")),
    Mistake(("align.size=300",), ("align.size", "128, 256, 512, 1024 px", "300")),
    Mistake(("align.smallest_size=2048",), ("align.smallest_size", "[1, 1024]", "2048")),
    Mistake(("invert.work_size=100",), ("invert.work_size", "128, 256, 512, 1024 px", "100")),
    Mistake(("invert.refine_steps=-1",), ("invert.refine_steps", ">= 0", "-1")),
    Mistake(("invert.seed=99999999999999999999",), ("invert.seed", "99999999999999999999")),
    Mistake(("tune.passes=99999999999999999999",), ("tune.passes", "99999999999999999999")),
    Mistake(("tune.learning_rate=0",), ("tune.learning_rate", "> 0", "got 0")),
    Mistake(("masks.outer=100000",), ("masks.outer", "[0, 512] px", "100000")),
    Mistake(("align.axes_sigma=1e9",), ("align.axes_sigma", "[0, 60] s", "1e+09")),
    Mistake(("stitch.learning_rate=nan",), ("stitch.learning_rate is nan", "finite")),
    Mistake(("composite.detail=inf",), ("composite.detail is inf", "finite")),
    Mistake(("stitch.learning_rate=1:30",), ("stitch.learning_rate", "'1:30'", "stitchedit options")),
    Mistake(("stitch.steps=many",), ("stitch.steps", "'many'", "stitchedit options")),
    Mistake(("stitch.steps=[1",), ("stitch.steps='[1' is no value", "Quote")),
    Mistake(("stitch.steps=&a [*a]",), ("stitch.steps", "inside of what it repeats")),
    Mistake(("stitch.stpes=4",), ("'stitch.stpes'", "Did you mean 'stitch.steps'?")),
    Mistake(("edit.strengths.a.b=4",), ("No option 'edit.strengths.a.b'", "Did you mean 'edit.strengths'?")),
    Mistake(("edit.strengths.age=4",), ("edit.strengths.age=4", "--edit smile=+2")),
    Mistake(("edit.ramps.smile=0:100",), ("'smile'", "to 200", "±12", "edit.max_strength")),
    Mistake(("edit.shots.smile=0:7",), ("'smile'", "to 14", "±12", "edit.max_strength")),
    Mistake(("edit.layers.smile=4-16",), ("Layers 4-16", "rows 0 to 15")),
    Mistake(("edit.directions=gone.safetensors",), ("gone.safetensors", "edit.directions", "Check its name")),
    Mistake(("edit.directions=text",), ("text cannot be read", "edit.directions", "stitchedit directions fit")),
    Mistake(("edit.directions=pipe",), ("pipe", "edit.directions")),
    Mistake(("edit.directions=nan.safetensors",), ("nan.safetensors", "'frown'", "finite")),
    Mistake(("edit.directions=small.safetensors",), ("small.safetensors", "'frown' is (2, 3)", "(16, 512)")),
    Mistake(("detect.backend=fan",), ("detect.backend is fan", "set detect.backend to dlib")),
    Mistake(("align.face=photo",), ("'photo' needs the photo", "--face anna.jpg")),
    Mistake(("--face", "photo"), ("'photo' needs the photo", "--face anna.jpg")),
    Mistake(("--face", "anna"), ("No face 'anna'", "largest")),
    Mistake(("--face", "gone.jpg"), ("no photo gone.jpg", "Give its path")),
    Mistake(("--face", "text.jpg"), ("text.jpg cannot be read as an image (3 bytes)", "JPEG, PNG or WebP")),
    Mistake(("--face", "empty.jpg"), ("empty.jpg cannot be read as an image (0 bytes)", "JPEG, PNG or WebP")),
    Mistake(("--face", "clip.mp4"), ("clip.mp4 cannot be read as an image", "JPEG, PNG or WebP")),
    Mistake(("--face", "left", "--face", "left"), ("--face left is given 2 times", "once")),
    Mistake(("--face", "left:age=1"), ("--edit has no effect", "Omit one of the two")),
    Mistake(("--start", "9"), ("clip.mp4", "last frame is at 0.900 s", "9 s", "Give a start inside")),
    Mistake(("decode.start=9",), ("clip.mp4", "last frame is at 0.900 s", "9 s", "Give a start inside")),
    Mistake(("--start", "1e300"), ("last frame is at 0.900 s", "1e+300 s")),
    Mistake(("--start", "-1"), ("decode.start must be 0 s or more", "-1 s")),
    Mistake(("--start", "nan"), ("start", "finite", "nan")),
    Mistake(("--end", "-0.5"), ("decode.end must be > 0 s", "-0.5 s")),
    Mistake(("--end", "inf"), ("end", "finite", "inf")),
    Mistake(("--start", "0.5", "--end", "0.2"), ("decode.end (0.2 s)", "decode.start (0.5 s)")),
    Mistake(("decode.max_pixels=100",), ("clip.mp4", "pixels in a frame, more than decode.max_pixels = 100 allows")),
    Mistake(("decode.max_seconds=0.5",), ("clip.mp4", "seconds, more than decode.max_seconds = 0.5 allows")),
    Mistake(("decode.damaged=hide",), ("decode.damaged", "warn, refuse, skip", "'hide'")),
    Mistake(("--preset", "drafft"), ("No preset 'drafft'", "Did you mean 'draft'?")),
    Mistake(("--store", "text"), ("--store text", "not a folder", "Give another")),
    Mistake(("--store", "text/inside"), ("--store text/inside", "not a folder")),
    Mistake(("--store", "dangling"), ("--store dangling", "not a folder")),
    Mistake(("--store", "/proc/store"), ("--store /proc/store", "/proc cannot be written to")),
    Mistake(("--store", "gs://bucket"), ("--store gs://bucket", "s3://bucket/prefix")),
    Mistake(("--store", "s3://"), ("--store s3://", "s3://bucket/prefix")),
    Mistake(("--store", "s3://b/p", "--scratch", "text"), ("--scratch text", "not a folder")),
    Mistake(("-o", "gone/out.mp4"), ("gone: no such folder for out.mp4", "Make it first")),
    Mistake(("-o", "text/out.mp4"), ("text: no such folder for out.mp4", "Make it first")),
    Mistake((), ("gone.mp4", "Check the name"), clip="gone.mp4"),
    Mistake((), ("list.m3u8: a playlist is not a clip",), clip="list.m3u8"),
    Mistake((), ("folder is a folder", "Name one video file"), clip="folder"),
    Mistake((), ("pipe is a pipe or a device", "to a file"), clip="pipe"),
    Mistake((), ("/dev/zero is a pipe or a device", "to a file"), clip="/dev/zero"),
    Mistake((), ("empty.jpg is empty (0 bytes)", "Copy"), clip="empty.jpg"),
    Mistake((), ("text: cannot be opened", "3 bytes", "copy or export"), clip="text"),
    Mistake((), ("File name too long", "Give another name"), clip="a" * 300 + ".mp4"),
    Mistake((), ("Strength 'nan' of edit 'smile'", "smile=+2"), edits=("--edit", "smile=nan")),
    Mistake((), ("Strength of 'smile' is 99", "±12"), edits=("--edit", "smile=99")),
    Mistake((), ("No direction 'smiel'", "Did you mean 'smile'?"), edits=("--edit", "smiel=2")),
]

WRONG_CATALOGS = {  # text after `source: clip.mp4` -> parts of the message, with the line
    "edits: {smile: .nan}": ("n.yaml:5", "edits.smile", "finite number, got nan"),
    "edits: {smile: 1:30}": ("n.yaml:5", "edits.smile", "valid number", "'1:30'"),
    "edits: {smile: 1}\n    start: .inf": ("n.yaml:6", "start", "finite number, got inf"),
    "edits: {smile: 1}\n    start: 9": ("n.yaml:4", "last frame is at 0.900 s", "9 s"),
    "edits: {smile: 1}\n    end: -1": ("n.yaml:4", "decode.end must be > 0 s", "-1 s"),
    "edits: {smile: 1}\n    options: [align.size=300]": ("n.yaml:4", "align.size", "300"),
    "edits: {smile: 1}\n    options: [edit.directions=text]": ("n.yaml:4", "text", "edit.directions"),
    "edits: {smile: 1}\n    faces: {text.jpg: {}}": ("n.yaml:4", "text.jpg cannot be read as an image"),
    "edits: {smile: 1}\n    preset: drafft": ("n.yaml:4", "Did you mean 'draft'?"),
}
CATALOG_COMMANDS = {  # command -> parts of the message
    ("run", "good.yaml", "--device", "foo"): ("device 'foo'", "auto, cpu, cuda"),
    ("plan", "good.yaml", "--device", "foo"): ("device 'foo'", "auto, cpu, cuda"),
    ("status", "good.yaml", "--device", "foo"): ("device 'foo'", "auto, cpu, cuda"),
    ("run", "good.yaml", "--device", "cuda:99"): ("cuda:99 is not on this machine",),
    ("plan", "good.yaml", "--device", "cuda:99"): ("cuda:99 is not on this machine",),
    ("run", "good.yaml", "--deployment", "x", "--device", "foo"): ("deployment", "'x'"),
    ("run", "good.yaml", "--deployment", "edit-video/x", "--device", "foo"): ("device 'foo'",),
    ("run", "good.yaml", "--store", "text"): ("--store", "not a folder"),
    ("plan", "good.yaml", "--store", "text"): ("--store", "not a folder"),
    ("run", "good.yaml", "--clips-at-once", "0"): ("clips_at_once", "got 0"),
    ("run", "good.yaml", "--time-limit", "nan"): ("time_limit_s", "finite", "nan"),
    ("run", "pipe.yaml"): ("pipe.yaml is not a file",),
    ("deploy", "--catalog", "n8.yaml", "--store", "store"): ("n8.yaml:4", "Did you mean 'draft'?"),
    ("deploy", "--catalog", "good.yaml", "--store", "http://x"): ("--store http://x", "s3://bucket/prefix"),
    ("deploy", "--catalog", "good.yaml", "--store", "x", "--time-limit", "nan"): (
        "--time-limit",
        "greater than or equal to 1",
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a clip of ten frames at 10 fps, a photo without a face, and invalid files."""
    path = tmp_path_factory.mktemp("request")
    with av.open(str(path / "clip.mp4"), "w") as target:
        video = target.add_stream("libx264", rate=10, width=64, height=48)
        video.pix_fmt, video.time_base = "yuv420p", Fraction(1, 10)
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * number, np.uint8), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            target.mux(video.encode(frame))
        target.mux(video.encode(None))
    cv2.imwrite(str(path / "photo.png"), np.zeros((40, 40, 3), np.uint8))
    for name in ("text", "text.jpg"):
        (path / name).write_text("no\n")
    (path / "empty.jpg").touch()
    (path / "folder").mkdir()
    (path / "dangling").symlink_to("nowhere")
    for name in ("pipe", "pipe.yaml"):
        os.mkfifo(path / name)
    save_file({"frown": np.full((16, 512), np.nan, np.float32)}, path / "nan.safetensors")
    save_file({"frown": np.zeros((2, 3), np.float32)}, path / "small.safetensors")
    (path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nclip.mp4\n")
    (path / "good.yaml").write_text(f"{HEAD}edits: {{smile: 1}}\n")
    for index, text in enumerate(WRONG_CATALOGS):
        (path / f"n{index}.yaml").write_text(f"{HEAD}{text}\n")
    return path


@pytest.fixture(scope="module")
def results(folder):
    """Result of each command in the child process."""
    commands = [(name, *mistake.command) for mistake in MISTAKES for name in ("edit", "plan")]
    commands += [(name, f"n{index}.yaml") for index in range(len(WRONG_CATALOGS)) for name in ("run", "plan")]
    commands += list(CATALOG_COMMANDS)
    settings = {"CUDA_VISIBLE_DEVICES": "", "NO_COLOR": "1", "COLUMNS": "1000", "PREFECT_HOME": str(folder / "home")}
    settings |= {"TORCH_HOME": str(folder / "hub"), "HOME": str(folder)}
    child = subprocess.run(
        [sys.executable, "-c", CHILD], input=json.dumps(commands), cwd=folder, env=os.environ | settings,
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr
    return dict(zip(commands, map(json.loads, child.stdout.splitlines()), strict=True))


def assert_refused(result, message):
    assert result["code"] == 2, result
    assert result["out"] == ""
    assert "Traceback" not in result["err"]
    assert [part for part in message if part not in result["err"]] == [], result["err"]
    assert not result["prefect"]
    assert result["children"] == []


@pytest.mark.parametrize("command", ["edit", "plan"])
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: "-".join(mistake.command)[:80])
def test_a_mistake_is_reported_before_prefect_is_imported(results, folder, command, mistake):
    assert_refused(results[command, *mistake.command], mistake.message)
    assert not any((folder / name).exists() for name in (".stitchedit", "home", "store"))


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize("text", WRONG_CATALOGS)
def test_a_mistake_in_a_catalog_is_reported_with_its_line(results, folder, command, text):
    name = f"n{list(WRONG_CATALOGS).index(text)}.yaml"
    message = [part.replace("n.yaml", name) for part in WRONG_CATALOGS[text]]
    assert_refused(results[command, name], message)


@pytest.mark.parametrize("command", CATALOG_COMMANDS, ids=" ".join)
def test_a_mistake_in_a_catalog_command_is_reported(results, command):
    assert_refused(results[command], CATALOG_COMMANDS[command])


@pytest.fixture
def request_for(folder):
    """`request_for(**fields)` returns a request as JSON values, as submitted to a deployment."""

    def make(**fields):
        edit = {"direction": "smile", "strength": 2}
        return {
            "video": str(folder / "clip.mp4"), "edits": [edit], "store": str(folder / "store"), "device": "cpu",
        } | fields  # fmt: skip

    return make


@pytest.fixture
def logged():
    """Lines of Prefect's log of flow runs, including tracebacks."""
    lines = []

    class Lines(logging.Handler):
        def emit(self, record):
            lines.append(self.format(record))

    handler = Lines()
    logger = logging.getLogger("prefect.flow_runs")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"device": "foo"}, "There is no device 'foo'"),
        ({"device": "cuda:99"}, "cuda:99 is not on this machine"),
        ({"options": ["align.size=300"]}, "got 300"),
        ({"options": ["stitch.learning_rate=nan"]}, "stitch.learning_rate is nan"),
        ({"start": 9}, "last frame is at 0.900 s"),
        ({"faces": [{"face": "text.jpg"}]}, "There is no photo text.jpg"),
        ({"origin": "s3://nobody/clip.mp4", "preset": "drafft"}, "Did you mean 'draft'?"),  # before the download
    ],
)
def test_an_invalid_submitted_run_fails_immediately(prefect_server, request_for, logged, folder, fields, message):
    state = edit_video(request_for(**fields), return_state=True)

    assert state.is_failed()
    assert message in state.message
    assert any(message in line for line in logged)
    assert not any("Traceback" in line for line in logged)
    assert not (folder / "store").exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"device": "foo"}, "There is no device 'foo'"),
        ({"catalog": "n5.yaml"}, "got 300"),
        ({"store": "text"}, "not a folder"),
    ],
)
def test_an_invalid_submitted_catalog_fails_immediately(prefect_server, folder, logged, fields, message):
    fields = {name: value if name == "device" else str(folder / value) for name, value in fields.items()}
    places = {"catalog": str(folder / "good.yaml"), "store": str(folder / "store"), "device": "cpu"}
    state = edit_catalog(places | fields, return_state=True)

    assert state.is_failed()
    assert message in state.message
    assert not any("Traceback" in line for line in logged)


def test_a_valid_request_passes(folder):
    request = EditRequest.model_validate(
        {
            "video": folder / "clip.mp4",
            "edits": [{"direction": "smile", "strength": 2}],
            "faces": [{"face": str(folder / "photo.png")}, {"face": "left"}],
            "options": ["edit.ramps.smile=1:0.5", "edit.shots.smile=1:0"],
            "start": 0.9,
        }
    )
    read_config(request)
    assert read_config(request).edit.ramps == {"smile": "1:0.5"}
    assert read_config(request).edit.shots == {"smile": "1:0"}


def test_strengths_of_two_persons_do_not_add_up():
    edit = {"direction": "smile", "strength": 8}
    faces = [FaceEdits.model_validate({"face": face, "edits": [edit]}) for face in ("left", "right")]
    assert read_config(EditRequest(video=Path("x"), faces=faces)).edit.strengths == {"smile": 8.0}


def test_own_directions_are_found_by_name(folder):
    own = {"frown": np.ones_like(next(iter(packaged_directions().values())))}
    save_file(own, folder / "mine.safetensors")
    fields = {"video": "x", "options": [f"edit.directions={folder / 'mine.safetensors'}"]}

    read_config(EditRequest.model_validate(fields | {"edits": [{"direction": "frown", "strength": 1}]}))
    with pytest.raises(InputError, match="No direction 'grin'"):
        read_config(EditRequest.model_validate(fields | {"edits": [{"direction": "grin", "strength": 1}]}))
