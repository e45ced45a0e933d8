"""`stitchedit fit`: make the project's own weights again, from the packaged generator alone."""

import csv
import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.progress import track
from torch import Tensor
from torch.nn import functional as F

from stitchedit.fit.directions import DirectionOptions, effects, fit_directions
from stitchedit.fit.heads import HeadOptions, Samples, fit_heads, measure_heads
from stitchedit.fit.samples import SampleOptions, draw_codes, render_samples
from stitchedit.landmarks import FaceFinder, LandmarkOptions
from stitchedit.memory import keep_freed_memory
from stitchedit.nets.attributes import AgeAndGender, score_face
from stitchedit.nets.face_parsing import CLASSES, parse_faces
from stitchedit.nets.face_parsing import SIZE as PARSING_SIZE
from stitchedit.nets.mobile_stylegan import MobileStyleGAN, read_mobile_stylegan
from storage.artifact import write_json
from storage.state_dict import save_tensors
from tasks import networks
from tasks.faces import to_pictures
from tasks.pretrained import pretrained

app = typer.Typer(help="Make heads and directions again (hours to minutes on two cores).", no_args_is_help=True)

FITTED: dict[str, tuple[str, ...]] = {  # with what may change along: a smile shows teeth, a look down lowers the lids
    "smile": ("mouth_open",),
    "age": (),
    "gender": (),
    "yaw": (),
    "eyes_open": (),
    "mouth_open": (),
    "glasses": (),
    "pitch": ("eyes_open",),
}
# First and last row of a code that a direction moves. The first two set where head and background are, the last ones
# color and light; a direction that leaves these alone disturbs the ring round the face less (docs/decisions/0008).
LAYERS = {
    "smile": (2, 9),
    "age": (4, 15),
    "gender": (2, 15),
    "yaw": (0, 7),
    "eyes_open": (2, 9),
    "mouth_open": (2, 9),
    "glasses": (0, 9),
    "pitch": (0, 7),
}
SCORE_SIZE = 256  # px of the pictures that are scored
Work = Annotated[Path, typer.Option(help="Folder for samples and checkpoints; an interrupted run goes on from it.")]


@app.command()
def heads(
    output: Annotated[Path, typer.Argument(help="Where the heads go, as safetensors.")],
    work: Work = Path("out/fit"),
    samples: Annotated[int, typer.Option(help="Codes with one w; a sixth as many mixed ones are added.")] = 2400,
    steps: Annotated[int, typer.Option(help="Steps of Adam.")] = HeadOptions.steps,
) -> None:
    """Fit the generator's heads for 128, 256 and 512 px."""
    keep_freed_memory()
    options = HeadOptions(steps=steps)
    generator = published_generator(options.sizes)
    drawn = SampleOptions(single=samples, mixed=samples // 6)
    render_samples(generator, work / "samples", drawn, _shown("render"))
    seen = Samples(work / "samples")
    fit_heads(generator, seen, options, work / "heads.pt", lambda step, loss: _shown("fit")(step + 1, steps))
    state = {
        f"{size}.{name}": v.numpy()
        for size in options.sizes
        for name, v in generator.heads[str(size)].state_dict().items()
    }
    quality = {str(size): round(value, 2) for size, value in measure_heads(generator, seen, options).items()}
    facts = {"samples": asdict(drawn), "options": asdict(options), "held_out_psnr_db": quality}
    save_tensors(output, state, {"made_by": "stitchedit fit heads", "facts": json.dumps(facts)})
    print(f"{output}: held-out PSNR in dB {quality}")


@app.command()
def directions(
    output: Annotated[Path, typer.Argument(help="Where the directions go, as safetensors; a .json of effects beside.")],
    work: Work = Path("out/fit"),
    samples: Annotated[int, typer.Option(help="Faces that are drawn and scored.")] = 2400,
    measured: Annotated[int, typer.Option(help="Faces on which the effects are measured.")] = 40,
    compare: Annotated[Path | None, typer.Option(help="Folder of NAME.npy directions to give cosines with.")] = None,
) -> None:
    """Sample, draw, score, regress, orthogonalise, and measure what each direction does."""
    keep_freed_memory()
    work.mkdir(parents=True, exist_ok=True)
    codes = draw_codes(networks.generator("cpu"), SampleOptions(single=samples, mixed=0))[:, 0].numpy()
    table = score_codes(codes, work / "scores.csv")
    fits = fit_directions(codes, table, FITTED, DirectionOptions())
    layers = networks.generator("cpu").layers
    found = {name: in_layers(fit.direction, LAYERS[name], layers) for name, fit in fits.items()}
    save_tensors(output, found, {"made_by": "stitchedit fit directions", "samples": str(samples), "seed": "1"})

    scorer = PictureScorer()
    fresh = draw_codes(networks.generator("cpu"), SampleOptions(single=measured, mixed=0, seed=9, truncation=(0.7,)))
    changes = effects(scorer.draw, scorer, fresh.numpy(), found, strength=2.0, on_step=_shown("measure"))
    cosines = {name: _cosine(fits[name].direction, compare, name) for name in found} if compare else {}
    spread = {name: float(np.nanstd(values)) for name, values in table.items()}
    quality = {name: {"r_squared": fit.r_squared, "ridge": fit.ridge} for name, fit in fits.items()}
    facts = {"effect_per_unit": changes, "spread": spread, "fit": quality, "cosine_with_published": cosines}
    write_json(output.with_suffix(".json"), facts)
    for name in found:
        print(name, {key: round(value, 3) for key, value in changes[name].items()}, cosines.get(name))


class PictureScorer:
    """Draws a code and scores the picture. Called with a picture, it gives its scores, or nothing without a face."""

    def __init__(self) -> None:
        files = {name: pretrained()[name].verified() for name in ("age", "gender")}
        self.attributes = AgeAndGender(files["age"], files["gender"])
        self.finder = FaceFinder(networks.landmark_networks(), LandmarkOptions(backend="dlib"))
        self.parser = networks.face_parser("cpu")
        self.generator = networks.generator("cpu")

    @torch.no_grad()
    def draw(self, w: np.ndarray) -> np.ndarray:
        """uint8 `height width rgb` of a w, or of one for each layer."""
        code = torch.from_numpy(w).float().expand(1, self.generator.layers, -1)
        return np.ascontiguousarray(to_pictures(self.generator(code, SCORE_SIZE))[0].transpose(1, 2, 0))

    def __call__(self, picture: np.ndarray) -> dict[str, float]:
        faces = self.finder.find(picture)
        if not faces:
            return {}
        scores = asdict(score_face(self.attributes, picture, faces[0].landmarks))
        return _flat(scores) | self._areas(picture)

    def _areas(self, picture: np.ndarray) -> dict[str, float]:
        """Shares of the picture that show glasses and a hat."""
        image: Tensor = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
        labels = parse_faces(self.parser, F.interpolate(image, (PARSING_SIZE, PARSING_SIZE), mode="bilinear"))
        return {name: float((labels == CLASSES.index(name)).mean()) for name in ("glasses", "hat")}


def in_layers(direction: np.ndarray, chosen: tuple[int, int], layers: int) -> np.ndarray:
    """A direction in W as one in W+, float32 `layer channel`: itself in the rows `chosen`, zero in the others."""
    spread = np.zeros((layers, len(direction)), np.float32)
    spread[chosen[0] : chosen[1] + 1] = direction
    return spread


def score_codes(codes: np.ndarray, path: Path, processes: int = 2) -> dict[str, np.ndarray]:
    """Scores of every code, one row each in the CSV at `path`; rows that are there are not computed again."""
    done = _read_rows(path)
    todo = [index for index in range(len(codes)) if index not in done]
    if todo:
        with (
            ProcessPoolExecutor(processes, get_context("spawn"), _start_scorer) as pool,
            path.open("a", newline="") as file,
        ):
            rows = pool.map(_score_one, todo, codes[todo], chunksize=4)
            for index, scores in track(zip(todo, rows, strict=True), "score", total=len(todo)):
                csv.writer(file).writerow([index, json.dumps(scores)])
                file.flush()
        done = _read_rows(path)
    names = sorted({name for scores in done.values() for name in scores})
    return {name: np.array([done[index].get(name, np.nan) for index in range(len(codes))]) for name in names}


def published_generator(sizes: tuple[int, ...]) -> MobileStyleGAN:
    """The packaged generator with untrained heads for `sizes`."""
    files = {name: pretrained()[name].verified() for name in networks.GENERATOR[:4]}
    generator = read_mobile_stylegan(files["mobile_stylegan_mapping"], files["mobile_stylegan_synthesis"], sizes)
    return generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


_scorer: list[PictureScorer] = []  # of a scoring process


def _start_scorer() -> None:
    torch.set_num_threads(1)
    keep_freed_memory()
    _scorer.append(PictureScorer())


def _score_one(index: int, code: np.ndarray) -> dict[str, float]:
    return _scorer[0](_scorer[0].draw(code))


def _read_rows(path: Path) -> dict[int, dict[str, float]]:
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {int(index): json.loads(scores) for index, scores in csv.reader(file)}


def _flat(scores: dict[str, object]) -> dict[str, float]:
    flat: dict[str, float] = {}
    for name, value in scores.items():
        flat |= _flat(value) if isinstance(value, dict) else {"gender" if name == "male" else name: float(value)}  # type: ignore[arg-type]
    return flat


def _cosine(direction: np.ndarray, folder: Path, name: str) -> float | None:
    path = folder / f"{name}.npy"
    if not path.exists():
        return None
    published = np.load(path)[0]
    return float(direction @ published / np.linalg.norm(direction) / np.linalg.norm(published))


def _shown(label: str) -> Callable[[int, int], None]:
    def show(done: int, total: int) -> None:
        if done == total or done % 20 == 0:
            print(f"{label} {done}/{total}", flush=True)

    return show
