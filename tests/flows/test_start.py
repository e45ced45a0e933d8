"""The first stage runs before slow packages are imported."""

import subprocess
import sys
from pathlib import Path

CHILD = """
import sys
from pathlib import Path

from flows.edit_job import resolve
from flows.edit_request import Edit, EditRequest
from flows.edit_video import edit_stages

def call(stage, *arguments):
    stage.fn(job.store, *arguments)
    print(stage.name, *sorted(sys.modules.keys() & {"torch", "scipy", "matplotlib", "skimage", "onnxruntime"}))
    raise SystemExit

request = EditRequest(video=Path(sys.argv[1]), store=sys.argv[2], edits=[Edit(direction="smile", strength=2)])
job = resolve(request)
edit_stages(call, job)
"""


def test_a_clip_is_decoded_before_pytorch_is_imported(clip: Path, tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(clip), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert child.stdout.split() == ["decode"], child.stderr
