"""Make the packaged directions again: score faces, regress, and measure on other faces what each direction does."""

from collections.abc import Callable
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch

from flows.training.score_table import complete_scores
from stitchedit.errors import InputError
from stitchedit.images.conversion import to_uint8
from stitchedit.measure.appearance import Appearance, score_names
from stitchedit.train.directions import (
    DirectionOptions,
    DirectionPlan,
    Effects,
    correct_directions,
    fit_directions,
    in_layers,
    signed_strength,
    summarize_effects,
)
from stitchedit.train.samples import SampleOptions, Samples, generate_image, sample_codes
from storage.files import write_json
from storage.weights.state_dict import save_tensors
from tasks.inputs.scorer import scorer
from tasks.runtime import networks
from tasks.runtime.memory import keep_freed_memory

SCORED = 256  # px of the images that are scored
DESCRIPTOR = [f"descriptor_{index}" for index in range(128)]
OnProgress = Callable[[str, int, int], None]  # what, done, total


def make_directions(  # noqa: PLR0913, PLR0917 - three places, and what to do
    samples: Samples,
    work: Path,
    output: Path,
    options: DirectionOptions,
    on_step: OnProgress,
    compare: Path | None = None,
) -> dict[str, object]:
    """Write directions to `output`, what they do beside it as JSON, and the regressions as score_gradients.safetensors.

    An interrupted run resumes from the tables in `work`.

    Args:
        samples: of them, those with one w in all rows are used.
        compare: folder of published NAME.npy directions, to give cosines with.
    """
    keep_freed_memory()
    for folder in (work, output.parent):
        folder.mkdir(parents=True, exist_ok=True)
    codes, table = _scored_samples(samples, work / "scores.csv", options, on_step)
    fits, regressions = fit_directions(codes, table, options)
    deviations = {name: float(np.nanstd(values)) for name, values in table.items()}
    first = replace(options, measured=options.tried, measured_seed=options.measured_seed + 1)
    layers = networks.generator("cpu").layers
    plain = {name: in_layers(fit.direction, options.fit[name].layers, layers) for name, fit in fits.items()}
    tried = measure_directions(plain, work / "tried", first, on_step)
    found = correct_directions(plain, tried, deviations, options)
    made_by = {"made_by": "stitchedit train directions", "samples": str(len(codes))}
    save_tensors(output, found, made_by)
    gradients = {name: fit.gradient.astype(np.float32) for name, fit in regressions.items()}
    save_tensors(output.with_name("score_gradients.safetensors"), gradients, made_by)

    effects = measure_directions(found, work / "effects", options, on_step)
    facts = {
        "deviations": deviations,
        "measured_on": options.measured,
        "directions": {
            name: _facts(options.fit[name], effects[name])
            | {"r_squared": fit.r_squared, "left": fit.left, "cosine": _cosine(found[name].sum(axis=0), compare, name)}
            for name, fit in fits.items()
        },
    }
    write_json(output.with_suffix(".json"), facts)
    return facts


def measure_directions(
    directions: dict[str, np.ndarray], work: Path, options: DirectionOptions, on_step: OnProgress
) -> dict[str, Effects]:
    """Measure each direction, `layer channel`, at its stated strength on faces that it was not fitted to."""
    work.mkdir(parents=True, exist_ok=True)
    sampled = SampleOptions(
        count=options.measured, mixed=0, seed=options.measured_seed, truncation=(options.measured_truncation,)
    )
    generator, names, faces = networks.generator("cpu"), score_names(), range(options.measured)
    codes = sample_codes(generator, sampled)
    score = scorer(describe=True, parsing_size=options.parsed_measured)

    def appearance(code: torch.Tensor) -> Appearance | None:
        return score(generate_image(generator, code, SCORED, SCORED))

    def before(face: int) -> dict[str, float]:
        seen = appearance(codes[face])
        return seen.scores | dict(zip(DESCRIPTOR, seen.descriptor.tolist(), strict=True)) if seen else {}

    table = complete_scores(work / "before.csv", faces, [*names, *DESCRIPTOR], before, _labelled(on_step, "before"))
    start = np.stack([table[name] for name in names], axis=1)
    descriptors = np.stack([table[name] for name in DESCRIPTOR], axis=1)
    found = {}
    for name, direction in directions.items():
        strength = options.fit[name].strength

        def after(face: int, direction: np.ndarray = direction, strength: float = strength) -> dict[str, float]:
            moved = codes[face] + signed_strength(face, strength) * torch.from_numpy(direction)
            seen = appearance(moved)
            identity = {"identity": float(np.linalg.norm(seen.descriptor - descriptors[face]))} if seen else {}
            return seen.scores | identity if seen else {}

        path = work / f"{name}-{_fingerprint(direction, strength)}.csv"
        moved = complete_scores(path, faces, [*names, "identity"], after, _labelled(on_step, name))
        end = np.stack([moved[score] for score in names], axis=1)
        found[name] = summarize_effects(start, end, moved["identity"], names)
    return found


def _scored_samples(
    samples: Samples, path: Path, options: DirectionOptions, on_step: OnProgress
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Codes, `sample channel`, and scores of the first samples that have one w in all rows."""
    count, parsed = options.samples, options.parsed
    single = (samples.codes == samples.codes[:, :1]).all(dim=2).all(dim=1)[: len(samples)]
    chosen = torch.nonzero(single)[:count, 0]
    if len(chosen) < count:
        raise InputError(f"Of {len(samples)} samples {len(chosen)} have one w in all rows. Draw more than {2 * count}.")
    score = scorer(describe=False, parsing_size=parsed)

    def scores_of(sample: int) -> dict[str, float]:
        image = to_uint8(samples.images(torch.tensor([sample]), SCORED))[0].transpose(1, 2, 0)
        seen = score(np.ascontiguousarray(image))
        return seen.scores if seen else {}

    table = complete_scores(path, chosen.tolist(), score_names(), scores_of, _labelled(on_step, "score"))
    return samples.codes[chosen, 0].numpy(), table


def _facts(plan: DirectionPlan, effects: Effects) -> dict[str, object]:
    return {**asdict(plan), "effects": effects.changes, "identity": effects.identity, "faces": effects.faces}


def _fingerprint(direction: np.ndarray, strength: float) -> str:
    """So that a table measured for another direction of the same name is not taken for this one's."""
    return sha256(direction.tobytes() + repr(strength).encode()).hexdigest()[:12]


def _labelled(on_step: OnProgress, label: str) -> Callable[[int, int], None]:
    return lambda done, total: on_step(label, done, total)


def _cosine(direction: np.ndarray, folder: Path | None, name: str) -> float | None:
    path = (folder or Path()) / f"{name}.npy"
    if folder is None or not path.exists():
        return None
    published = np.load(path)[0]
    return float(direction @ published / np.linalg.norm(direction) / np.linalg.norm(published))
