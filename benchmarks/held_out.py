"""Accuracy of the encoder on unseen generated faces with known codes: LPIPS, recognition, error of the code.

    python benchmarks/held_out.py --faces 64

Faces are generated at 1024 px from a separate seed, alternately at truncation .7 and 1, half of them with mixed rows.
"""

import argparse

import numpy as np
import torch
from inversion import WAYS, Judge, draw
from torch.nn import functional as F

from stitchedit.images.conversion import to_images
from stitchedit.invert import Footage, Inverter
from stitchedit.train.samples import SampleOptions, generate_image, sample_codes
from tasks.runtime import networks
from tasks.runtime.memory import keep_freed_memory

SEED = 2026


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=64)
    parser.add_argument("--refined", type=int, default=8, help="number of faces that are also refined, each separately")
    options = parser.parse_args()
    keep_freed_memory()
    generator, encoder = networks.generator("cpu"), networks.encoder("cpu")
    codes = sample_codes(generator, SampleOptions(count=options.faces, truncation=(0.7, 1.0), seed=SEED))
    references = [generate_image(generator, code, 1024, 256).transpose(2, 0, 1) for code in codes]
    images = to_images(np.stack(references), torch.device("cpu"))
    with torch.no_grad():
        found = encoder(images)
    mean = generator.w_mean.expand_as(found)
    report("encoder", generator, found, codes, references)
    report("mean code", generator, mean[:16], codes[:16], references[:16])
    refined = []
    for index in range(options.refined):
        footage = Footage(lambda _, index=index: images[index][None], np.zeros(1, int), 256)
        plan = WAYS["encoder, refined"]
        inverter = Inverter(generator, networks.perceptual("cpu"), footage, plan)
        person = inverter.person(found[index][None])
        refined.append(inverter.frames(person, torch.zeros_like(person), np.zeros(1, int)))
    report("encoder, same faces", generator, found[: options.refined], codes, references)
    report("refined", generator, torch.cat(refined), codes, references)


def report(name, generator, found, codes, references) -> None:
    """Print one line."""
    judge, count = Judge(), len(found)
    generated = draw(generator, found, 256)
    ours, theirs = judge.embeddings(generated), judge.embeddings(references[:count])
    spread = (codes - generator.w_mean).square().mean()
    squares = (found - codes[:count]).square()
    distances = [
        networks.perceptual("cpu")(*(to_images(image[None], torch.device("cpu")) for image in pair)).item()
        for pair in zip(generated, references[:count], strict=True)
    ]
    error = F.mse_loss(*(to_images(np.stack(many), torch.device("cpu")) for many in (generated, references[:count])))
    print(
        f"{name}: {count} faces, LPIPS mean {np.mean(distances):.3f} median {np.median(distances):.3f}, "
        f"PSNR {10 * np.log10(4 / error.item()):.1f} dB, "
        f"recognition cosine {np.nanmean((ours * theirs).sum(axis=1)):.3f}, "
        f"distance {judge.distance(generated, references[:count]):.3f}, "
        f"unexplained {float(squares.mean() / spread):.2f} of the codes' variance",
        flush=True,
    )


if __name__ == "__main__":
    main()
