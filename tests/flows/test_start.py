"""How little has to be imported before the first stage runs."""

import subprocess
import sys
from pathlib import Path

CHILD = """
import sys
from pathlib import Path

from flows.edit_request import Edit, EditRequest, check_request
from flows.edit_video import edit_stages
from storage.artifact import Source

def call(stage, *arguments):
    stage.fn(request.open_store(), *arguments)
    print(stage.name, *sorted(sys.modules.keys() & {"torch", "scipy", "matplotlib", "skimage", "onnxruntime"}))
    raise SystemExit

request = EditRequest(video=Path(sys.argv[1]), store=sys.argv[2], edits=[Edit(direction="smile", strength=2)])
edit_stages(call, request, Source.of(request.video), check_request(request))
"""


def test_a_clip_is_decoded_before_pytorch_is_imported(clip: Path, tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(clip), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert child.stdout.split() == ["decode"], child.stderr
