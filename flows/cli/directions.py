"""`stitchedit directions`: fit your own direction and show the effects of the packaged ones."""

import csv
import json
import re
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import torch
import typer
from rich.progress import TaskID

from configs.load import load_options
from flows.cli.arguments import finite
from flows.cli.known_edits import known_edits, measured_effects
from flows.cli.terminal import plain
from flows.training.log import bar
from flows.training.sample_files import open_samples, write_samples
from flows.training.train_directions import OnProgress, make_directions
from stitchedit.errors import InputError
from stitchedit.nets.mobile_stylegan import MobileStyleGAN
from stitchedit.train.directions import DirectionOptions, Regression, in_layers, keep_constant, regress
from stitchedit.train.samples import SampleOptions, generate_image, sample_codes
from storage.weights.state_dict import load_tensors, read_metadata, save_tensors
from tasks.reporting.sheet import grid_sheet
from tasks.runtime import networks
from tasks.runtime.memory import keep_freed_memory
from tasks.runtime.pretrained import pretrained

app = typer.Typer(help="Fit your own edit direction, and show the effects of the packaged ones.", no_args_is_help=True)

COLUMNS = ("seed", "score")
SAMPLE_SIZE = 256  # px of the images to score
LITTLE_LEFT = 0.3  # share of a direction's length left after keeping other scores constant; less gives a warning
Truncation = Annotated[
    float,
    typer.Option(callback=finite, help="0 = the mean face, 1 = all faces. Use one value for `samples` and `fit`."),
]

SAMPLES_EXAMPLES = """
[bold]Example[/bold]

  stitchedit directions samples --count 300 --output faces

  generates faces/000000.png to 000299.png and faces/scores.csv with a row for each: fill in the column score.
"""
FIT_EXAMPLES = """
[bold]Examples[/bold]

  stitchedit directions fit freckles --scores faces/scores.csv

  stitchedit directions fit freckles --scores faces/scores.csv --layers 6-11 --keep age,gender -o mine.safetensors

  stitchedit edit interview.mp4 --edit freckles=+2 edit.directions=mine.safetensors
"""


@app.command(epilog=SAMPLES_EXAMPLES)
def samples(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the images and the table.")],
    count: Annotated[int, typer.Option(min=1, help="Number of faces; 200 to 500 give a good direction.")] = 300,
    truncation: Truncation = DirectionOptions.measured_truncation,
) -> None:
    """Generate faces to score, each named for its seed, and a table for the scores."""
    output.mkdir(parents=True, exist_ok=True)
    generator = networks.generator("cpu")
    for seed in range(count):
        path = output / f"{seed:06d}.png"
        if not path.exists():
            cv2.imwrite(str(path), render_face(generator, code_of_seed(generator, seed, truncation))[..., ::-1])
    table = output / "scores.csv"
    if not table.exists():
        with table.open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *([seed, ""] for seed in range(count))])
    command = f"stitchedit directions fit NAME --scores {table}"
    print(plain(f"{count} faces in {output}. Fill in the column score of {table}, then run: {command}"))


@app.command(epilog=FIT_EXAMPLES)
def fit(  # noqa: PLR0913, PLR0917 - the flags of a command
    name: Annotated[str, typer.Argument(help="Name of the new direction.")],
    scores: Annotated[Path, typer.Option(help="CSV with the columns seed and score.")],
    layers: Annotated[str, typer.Option(help="Rows of the code: 0-1 position, 2-7 shape, 8-15 color.")] = "2-15",
    keep: Annotated[str, typer.Option(help="Scores to keep constant, comma-separated; or all, or none.")] = "all",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to add it to. Default: NAME.safetensors.")
    ] = None,
    truncation: Truncation = DirectionOptions.measured_truncation,
) -> None:  # fmt: skip
    """Fit a direction to your own scores, keeping other scores constant."""
    name = checked_name(name)
    path = output or Path(f"{name}.safetensors")
    others = networks.own_directions(path) if path.exists() else {}
    kept = kept_gradients(keep)
    seeds, values = read_score_file(scores)
    generator = networks.generator("cpu")
    rows = in_layers(np.zeros(generator.channels), layers, generator.layers)  # reports invalid layers before the fit
    codes = torch.stack([code_of_seed(generator, seed, truncation) for seed in seeds]).numpy()

    regression = regress(codes, values, DirectionOptions().ridge)
    found = keep_constant(regression, list(kept.values()))
    rows[:] = in_layers(found.direction, layers, generator.layers)
    facts = {name: {"layers": layers, "samples": len(seeds), "r_squared": found.r_squared, "left": found.left}}
    before = json.loads(read_metadata(path).get("facts", "{}")) if others else {}
    tensors = {other: tensor.numpy() for other, tensor in others.items()} | {name: rows}
    save_tensors(path, tensors, {"made_by": "stitchedit directions fit", "facts": json.dumps(before | facts)})
    print(plain(_fit_summary(name, path, regression, found.direction, values)))
    if found.r_squared < DirectionOptions.keep_above:
        print("Warning: the fit explains little of the scores. Score more faces, or spread the scores more evenly.")
    if found.left < LITTLE_LEFT:
        print(
            f"Warning: with other scores kept constant, {found.left:.0%} of the direction is left. Name fewer scores "
            "with --keep."
        )


def _fit_summary(name: str, path: Path, regression: Regression, direction: np.ndarray, values: np.ndarray) -> str:
    rise = float(regression.gradient @ direction) * float(values.std())
    return (
        f"{path}: {name} from {len(values)} scores. Held out, R² is {regression.r_squared:.2f}; a strength of 1 in all "
        f"layers should raise the score by {rise:.3g}.\n"
        f"To use it, run: stitchedit edit CLIP --edit {name}=+2 edit.directions={path}"
    )


def checked_name(name: str) -> str:
    """The name of a direction with `-` replaced by `_`, as in edits.

    Raises:
        InputError: the name is invalid or that of a packaged direction.
    """
    name = name.replace("-", "_")
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise InputError(f"{name!r} is not a valid direction name: use letters, digits and _, starting with a letter.")
    if name in load_tensors(pretrained()["directions"].locate()):
        raise InputError(f"{name!r} is a packaged direction. Give yours another name, such as my_{name}.")
    return name


def kept_gradients(keep: str) -> dict[str, np.ndarray]:
    """Gradients of the scores in `keep`: a comma-separated list, `all` or `none`.

    Raises:
        InputError: a score is unknown.
    """
    known = load_tensors(pretrained()["score_gradients"].verified())
    if keep in {"all", "none", ""}:
        return known if keep == "all" else {}
    names = [name.strip() for name in keep.split(",")]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f"--keep: unknown score {', '.join(unknown)}. Known: {', '.join(sorted(known))}.")
    return {name: known[name] for name in names}


def read_score_file(path: Path) -> tuple[list[int], np.ndarray]:
    """Seeds and their scores; rows without a score are skipped.

    Raises:
        InputError: there is no such file, a column is missing, or a value is not a number.
    """
    if not path.is_file():
        raise InputError(f"There is no file {path}. `stitchedit directions samples` writes one to fill in.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            missing = [column for column in COLUMNS if column not in (table.fieldnames or ())]
            if missing:
                found = ", ".join(table.fieldnames or ())[:200] or "nothing"
                raise InputError(f"{path} has no column {' and no '.join(missing)}; its first line has {found}.")
            rows = [(table.line_num, row["seed"], row["score"]) for row in table if (row["score"] or "").strip()]
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid CSV: {error}. Save it as CSV in UTF-8.") from error
    seeds, values = [], []
    for line, seed, score in rows:
        try:
            seeds.append(int(seed))
            values.append(float(score))
        except ValueError as error:
            raise InputError(
                f"{path}, line {line}: {seed!r}, {score!r} is not an integer seed and a number. Correct the line."
            ) from error
        if not np.isfinite(values[-1]) or seeds[-1] < 0:
            raise InputError(f"{path}, line {line}: {seed}, {score} cannot be used. Leave the score empty to skip it.")
    return seeds, np.array(values)


@app.command()
def effects() -> None:
    """Print the effect of every direction on every score as a Markdown table."""
    print(effects_table(measured_effects()))


@app.command()
def sheet(
    output: Annotated[Path, typer.Option("-o", "--output", help="PNG or JPEG file.")] = Path("directions.jpg"),
    seeds: Annotated[str, typer.Option(help="Seeds of the faces to show, comma-separated.")] = "14,15",
    truncation: Truncation = DirectionOptions.measured_truncation,
) -> None:
    """Write an image of every packaged direction over its useful range of strengths."""
    if not all(seed.strip().isdecimal() for seed in seeds.split(",")):
        raise InputError(f"--seeds {seeds!r} are not comma-separated integers, such as 14,15.")
    generator = networks.generator("cpu")
    codes = [code_of_seed(generator, int(seed), truncation) for seed in seeds.split(",")]
    rows = []
    for edit in known_edits():
        low, high = map(float, edit.useful.split(" to "))
        direction = networks.directions()[edit.name]
        images = [
            render_face(generator, code + strength * direction)
            for code in codes
            for strength in (low, low / 2, 0.0, high / 2, high)
        ]
        rows.append((f"{edit.name} {low:+g} .. {high:+g}", images))
    image = grid_sheet(rows, side=112)
    if not cv2.imwrite(str(output), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85]):
        raise InputError(f"{output} cannot be written. Name a .png or .jpg file in an existing folder.")
    print(plain(output))


def train_directions(
    output: Annotated[Path, typer.Argument(help="Output as safetensors; effects and gradients are written beside it.")],
    options: Annotated[
        list[str] | None, typer.Argument(metavar="[OPTION=VALUE]...", help="Override configs/train/directions.yaml.")
    ] = None,
    work: Annotated[Path, typer.Option(help="Folder for samples and tables, to resume from.")] = Path("out/train"),
    samples: Annotated[
        Path | None, typer.Option(help="Folder of existing samples, such as WORK/encoder-samples.")
    ] = None,
    compare: Annotated[Path | None, typer.Option(help="Folder of NAME.npy directions to compute cosines with.")] = None,
) -> None:
    """Retrain the packaged directions: generate samples, score, regress, correct, and measure the effects.

    **Examples**

        stitchedit train directions out/directions.safetensors

        stitchedit train directions out/directions.safetensors measured=40 fit.age.layers=4-15

        stitchedit train directions out/directions.safetensors --samples out/train/encoder-samples
    """
    keep_freed_memory()
    plan = load_options("directions", DirectionOptions, options or [])
    with bar() as progress:
        shown: dict[str, TaskID] = {}

        def on_step(step: str, done: int, total: int) -> None:
            if step not in shown:
                shown[step] = progress.add_task(step, total=total)
            progress.update(shown[step], completed=done)

        folder = samples or _generate_samples(work / "direction-samples", plan.samples, on_step)
        facts = make_directions(open_samples(folder), work / "directions", output, plan, on_step, compare)
    print(effects_table(facts))


def _generate_samples(folder: Path, count: int, on_step: OnProgress) -> Path:
    """Write `count` samples with one w for all layers into `folder` and return it."""
    generator = networks.generator("cpu")
    codes = sample_codes(generator, SampleOptions(count=count, mixed=0, size=SAMPLE_SIZE))
    write_samples(
        folder,
        codes,
        SAMPLE_SIZE,
        lambda left: (generate_image(generator, code, SAMPLE_SIZE, SAMPLE_SIZE) for code in left),
        lambda done, total: on_step("samples", done, total),
    )
    return folder


@torch.no_grad()
def code_of_seed(generator: MobileStyleGAN, seed: int, truncation: float) -> torch.Tensor:
    """The w of a seed, `channel`: noise of that seed through the mapping network, then truncated."""
    noise = torch.randn(1, generator.channels, generator=torch.Generator().manual_seed(seed))
    w: torch.Tensor = generator.mapping(noise)[0]
    return generator.w_mean + truncation * (w - generator.w_mean)


def render_face(generator: MobileStyleGAN, code: torch.Tensor) -> np.ndarray:
    """Generate a face at 256 px, uint8 `height width rgb`, from one w or one w per layer."""
    return generate_image(generator, code.expand(generator.layers, -1), SAMPLE_SIZE, SAMPLE_SIZE)


def effects_table(measured: dict[str, Any]) -> str:
    """A Markdown table of attributes by direction: mean change at the stated strength, in standard deviations.

    The direction's own attribute is bold; attributes that may change with it are in brackets.
    """
    directions, deviations = measured["directions"], measured["deviations"]
    head = [f"{name} {found['strength']:+g}" for name, found in directions.items()]
    lines = ["| | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
    for score, deviation in deviations.items():
        cells = []
        for found in directions.values():
            cell = f"{found['effects'][score] / deviation:+.2f}"
            if score == found["score"]:
                cell = f"**{cell}**"
            elif score in found["may_change"]:
                cell = f"({cell})"
            cells.append(cell)
        lines.append(f"| {score} | " + " | ".join(cells) + " |")
    lines.append("| identity | " + " | ".join(f"{found['identity']:.2f}" for found in directions.values()) + " |")
    return "\n".join(lines)
