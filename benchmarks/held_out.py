"""How well the encoder finds faces that it never saw and whose codes are known: LPIPS, recognition, rows of the code.

    python benchmarks/held_out.py --faces 64

Faces are drawn at 1024 px from a seed of their own, at truncation .7 and 1 in turn, every other one with mixed rows.
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
    parser.add_argument("--refined", type=int, default=8, help="of them are refined too, each by itself")
    options = parser.parse_args()
    keep_freed_memory()
    generator, encoder = networks.generator("cpu"), networks.encoder("cpu")
    codes = sample_codes(generator, SampleOptions(count=options.faces, truncation=(0.7, 1.0), seed=SEED))
    pictures = [generate_image(generator, code, 1024, 256).transpose(2, 0, 1) for code in codes]
    images = to_images(np.stack(pictures), torch.device("cpu"))
    with torch.no_grad():
        found = encoder(images)
    mean = generator.w_mean.expand_as(found)
    report("encoder", generator, found, codes, pictures)
    report("mean code", generator, mean[:16], codes[:16], pictures[:16])
    refined = []
    for index in range(options.refined):
        footage = Footage(lambda _, index=index: images[index][None], np.zeros(1, int), 256)
        plan = WAYS["encoder, refined"]
        inverter = Inverter(generator, networks.perceptual("cpu"), footage, plan)
        person = inverter.person(found[index][None])
        refined.append(inverter.frames(person, torch.zeros_like(person), np.zeros(1, int)))
    report("encoder, same faces", generator, found[: options.refined], codes, pictures)
    report("refined", generator, torch.cat(refined), codes, pictures)


def report(name, generator, found, codes, pictures) -> None:
    """Print one line."""
    judge, count = Judge(), len(found)
    drawn = draw(generator, found, 256)
    ours, theirs = judge.embeddings(drawn), judge.embeddings(pictures[:count])
    spread = (codes - generator.w_mean).square().mean()
    squares = (found - codes[:count]).square()
    distances = [
        networks.perceptual("cpu")(*(to_images(picture[None], torch.device("cpu")) for picture in pair)).item()
        for pair in zip(drawn, pictures[:count], strict=True)
    ]
    error = F.mse_loss(*(to_images(np.stack(many), torch.device("cpu")) for many in (drawn, pictures[:count])))
    print(
        f"{name}: {count} faces, LPIPS mean {np.mean(distances):.3f} median {np.median(distances):.3f}, "
        f"PSNR {10 * np.log10(4 / error.item()):.1f} dB, "
        f"recognition cosine {np.nanmean((ours * theirs).sum(axis=1)):.3f}, "
        f"distance {judge.distance(drawn, pictures[:count]):.3f}, "
        f"unexplained {float(squares.mean() / spread):.2f} of the codes' variance",
        flush=True,
    )


if __name__ == "__main__":
    main()
