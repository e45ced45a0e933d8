"""Decode and encode the clips named on standard input, without an edit; print the outcome of each as JSON."""

import json
import sys
import traceback
from pathlib import Path

from storage.errors import StorageError
from storage.video.decode_options import DecodeOptions, check_limits
from storage.video.index import Clip, index_frames
from storage.video.info import probe
from storage.video.writer import EncodeOptions, write_video

LOSSLESS = EncodeOptions(crf=0, preset="ultrafast", segment=16)


def run(path: Path, output: Path) -> dict[str, object]:
    try:
        info = probe(path)
        check_limits(path, info, DecodeOptions())
        index = index_frames(path, info)
        notes = write_video(Clip(path, info, index), output, LOSSLESS)
    except StorageError as error:
        return {"refused": f"{type(error).__name__}: {error}"}
    except Exception:
        return {"traceback": traceback.format_exc()}
    return {
        "seconds": [float(pts * info.tick) for pts in index.pts.tolist()],
        "damaged": index.damaged.tolist(),
        "warnings": [*index.warnings, *notes],
    }


for line in sys.stdin:
    source, target = json.loads(line)
    print(json.dumps(run(Path(source), Path(target))), flush=True)
