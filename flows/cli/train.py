"""`stitchedit train`: retrain the project's own weights from the packaged generator alone.

Samples, checkpoints and curves are kept in a work folder. An interrupted run resumes from there when it is started
again with the same arguments.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from torch import Tensor

from configs.load import load_options
from flows.cli.directions import train_directions
from flows.requests.checks import check_device
from flows.training.checkpoints import StateFile
from flows.training.log import TrainingLog, bar
from flows.training.sample_files import open_samples, write_samples
from stitchedit.nets.encoder import Encoder, load_encoder
from stitchedit.nets.mobile_stylegan import HALF, MobileStyleGAN, load_heads
from stitchedit.nets.mobile_stylegan_ir import read_mobile_stylegan
from stitchedit.nets.occlusion import load_occlusion_net
from stitchedit.train.encoder import EncoderOptions, Teachers, measure_encoder, start_encoder, train_encoder
from stitchedit.train.heads import HeadOptions, fit_heads, least_squares_start, measure_heads
from stitchedit.train.occlusion import (
    OcclusionTraining,
    measure_occlusion_net,
    start_occlusion_net,
    train_occlusion_net,
)
from stitchedit.train.samples import SampleOptions, Samples, generate_image, sample_codes
from storage.weights.state_dict import load_tensors, save_tensors
from tasks.runtime import networks
from tasks.runtime.memory import keep_freed_memory
from tasks.runtime.pretrained import pretrained

app = typer.Typer(
    help="Retrain the project's own networks and directions: hours on two cores, minutes on a GPU.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

Work = Annotated[
    Path, typer.Option(help="Folder for samples, checkpoints and curves; an interrupted run resumes from it.")
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[OPTION=VALUE]...", help="Override configs/train/NAME.yaml.")
]
TrainingDevice = Annotated[str, typer.Option(help="`auto` is a GPU when there is one.")]
From = Annotated[Path | None, typer.Option("--from", help="Initial weights, instead of a least-squares fit.")]


@dataclass(frozen=True)
class EncoderTraining:
    samples: SampleOptions = field(default_factory=SampleOptions)
    drawn_size: int = 1024  # px at which samples are generated, before area averaging to their final size
    processes: int = 2  # that generate samples on a CPU
    encoder: EncoderOptions = field(default_factory=EncoderOptions)


@dataclass(frozen=True)
class OcclusionPlan:
    samples: SampleOptions = field(default_factory=SampleOptions)
    drawn_size: int = 256  # px
    processes: int = 2
    occlusion: OcclusionTraining = field(default_factory=OcclusionTraining)


@dataclass(frozen=True)
class HeadTraining:
    samples: SampleOptions = field(default_factory=SampleOptions)
    processes: int = 2
    heads: HeadOptions = field(default_factory=HeadOptions)


@app.command()
def encoder(
    output: Annotated[Path, typer.Argument(help="Output file: safetensors in float16.")],
    options: Overrides = None,
    work: Work = Path("out/train"),
    device: TrainingDevice = "auto",
    begin: From = None,
) -> None:
    """Train the encoder, which maps crops to codes in one pass.

    **Examples**

        stitchedit train encoder out/encoder.safetensors

        stitchedit train encoder out/encoder.safetensors encoder.steps=2000 samples.count=4000 drawn_size=256

        stitchedit train encoder out/better.safetensors --from stitchedit/weights/encoder.safetensors
    """
    check_device(device)
    keep_freed_memory()
    plan = load_options("encoder", EncoderTraining, options or [])
    samples = load_samples(work / "encoder-samples", plan.samples, plan.drawn_size, plan.processes, device)
    teachers = Teachers(networks.generator(device), networks.perceptual(device), samples)
    log, checkpoint = TrainingLog(work / "encoder.csv"), work / "encoder.pt"
    student = _student(teachers, plan.encoder, begin, resume=checkpoint.exists())
    with log.shown("encoder", plan.encoder.steps) as on_step:
        student = train_encoder(student, teachers, plan.encoder, StateFile(checkpoint), on_step)
    state = {name: value.half().cpu().numpy() for name, value in student.state_dict().items()}
    quality = measure_encoder(
        load_encoder({name: torch.from_numpy(value) for name, value in state.items()}).to(
            networks.choose_device(device)
        ),
        teachers,
        plan.encoder,
    )
    _save(output, state, "stitchedit train encoder", asdict(plan), quality)
    Console().print(f"{output}: held out {_rounded(quality)}; curves in {log.plot()}")


@app.command()
def heads(
    output: Annotated[Path, typer.Argument(help="Output file: safetensors.")],
    options: Overrides = None,
    work: Work = Path("out/train"),
    device: TrainingDevice = "auto",
    begin: From = None,
) -> None:
    """Train the generator's heads for 128 and 256 px.

    **Examples**

        stitchedit train heads out/heads.safetensors

        stitchedit train heads out/longer.safetensors heads.steps=2000 --from out/heads.safetensors
    """
    check_device(device)
    keep_freed_memory()
    plan = load_options("heads", HeadTraining, options or [])
    samples = load_samples(work / "head-samples", plan.samples, HALF, plan.processes, device)
    generator = published_generator(plan.heads.sizes).to(networks.choose_device(device))
    if begin is None:
        least_squares_start(generator, samples, plan.heads)
    else:
        load_heads(generator, {name: torch.from_numpy(value) for name, value in load_tensors(begin).items()})
    log = TrainingLog(work / "heads.csv")
    with log.shown("heads", plan.heads.steps) as on_step:
        fit_heads(generator, samples, plan.heads, StateFile(work / "heads.pt"), on_step)
    state = {
        f"{size}.{name}": value.cpu().numpy()
        for size in plan.heads.sizes
        for name, value in generator.heads[str(size)].state_dict().items()
    }
    quality = {str(size): value for size, value in measure_heads(generator, samples, plan.heads).items()}
    _save(output, state, "stitchedit train heads", asdict(plan), quality)
    Console().print(f"{output}: held-out PSNR in dB {_rounded(quality)}; curves in {log.plot()}")


@app.command()
def occlusion(
    output: Annotated[Path, typer.Argument(help="Output file: safetensors in float16.")],
    options: Overrides = None,
    work: Work = Path("out/train"),
    device: TrainingDevice = "auto",
    begin: From = None,
) -> None:
    """Train the occlusion network, which segments objects in front of a face.

    **Examples**

        stitchedit train occlusion out/occlusion.safetensors

        stitchedit train occlusion out/better.safetensors --from stitchedit/weights/occlusion.safetensors
    """
    check_device(device)
    keep_freed_memory()
    plan = load_options("occlusion", OcclusionPlan, options or [])
    samples = load_samples(work / "occlusion-samples", plan.samples, plan.drawn_size, plan.processes, device)
    log, checkpoint = TrainingLog(work / "occlusion.csv"), work / "occlusion.pt"
    if begin is None:
        network = start_occlusion_net(networks.face_parser("cpu"), plan.occlusion)
    else:
        network = load_occlusion_net({name: torch.from_numpy(value) for name, value in load_tensors(begin).items()})
    with log.shown("occlusion", plan.occlusion.steps) as on_step:
        network = train_occlusion_net(
            network.to(networks.choose_device(device)), samples, plan.occlusion, StateFile(checkpoint), on_step
        )
    state = {name: value.half().cpu().numpy() for name, value in network.state_dict().items()}
    kept = load_occlusion_net({name: torch.from_numpy(value) for name, value in state.items()})
    quality = measure_occlusion_net(kept, samples, plan.occlusion)
    _save(output, state, "stitchedit train occlusion", asdict(plan), quality)
    Console().print(f"{output}: held out {_rounded(quality)}; curves in {log.plot()}")


app.command(name="directions")(train_directions)


def load_samples(folder: Path, options: SampleOptions, drawn_size: int, processes: int, device: str) -> Samples:
    """Generate missing samples in `folder` and open them."""
    codes = sample_codes(networks.generator("cpu"), options)
    with bar() as progress:
        shown = progress.add_task("samples", total=len(codes))
        write_samples(
            folder,
            codes,
            options.size,
            lambda pending: _generate(pending, (drawn_size, options.size), processes, device),
            lambda done, total: progress.update(shown, completed=done, total=total),
        )
    return open_samples(folder)


def published_generator(sizes: tuple[int, ...]) -> MobileStyleGAN:
    """The packaged generator with untrained heads for `sizes`."""
    files = {name: pretrained()[name].verified() for name in networks.GENERATOR[:4]}
    generator = read_mobile_stylegan(files["mobile_stylegan_mapping"], files["mobile_stylegan_synthesis"], sizes)
    return generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _student(teachers: Teachers, options: EncoderOptions, begin: Path | None, *, resume: bool) -> Encoder:
    device = teachers.generator.w_mean.device
    if resume:  # the weights come from the checkpoint
        return Encoder(teachers.generator.layers, teachers.generator.channels).to(device)
    if begin is not None:
        return load_encoder({name: torch.from_numpy(value) for name, value in load_tensors(begin).items()}).to(device)
    return start_encoder(networks.face_parser(str(device)), teachers, options)


def _generate(codes: Tensor, sizes: tuple[int, int], processes: int, device: str) -> Iterator[np.ndarray]:
    """Generate images of `codes`; on a CPU in several processes, which are faster there than threads."""
    if not len(codes):
        return
    if networks.choose_device(device).type != "cpu":
        for code in codes:
            yield generate_image(networks.generator(device), code.to(networks.choose_device(device)), *sizes)
        return
    with ProcessPoolExecutor(processes, get_context("spawn"), _start_worker) as pool:
        yield from pool.map(_generate_one, list(codes.numpy()), [sizes] * len(codes), chunksize=4)


def _start_worker() -> None:
    torch.set_num_threads(1)
    keep_freed_memory()


def _generate_one(code: np.ndarray, sizes: tuple[int, int]) -> np.ndarray:
    return generate_image(networks.generator("cpu"), torch.from_numpy(code), *sizes)


def _save(
    output: Path, state: dict[str, np.ndarray], command: str, plan: dict[str, object], quality: dict[str, float]
) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    facts = {"plan": plan, "held_out": _rounded(quality)}
    save_tensors(output, state, {"made_by": command, "facts": json.dumps(facts)})


def _rounded(quality: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in quality.items()}
