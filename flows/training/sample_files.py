"""Generated faces on disk: codes, images, and the number of finished images."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor

from stitchedit.train.samples import Samples
from storage.files import write_atomic

CODES, IMAGES, DONE = "codes.npy", "images.npy", "done"


def write_samples(
    folder: Path,
    codes: Tensor,
    size: int,
    generate: Callable[[Tensor], Iterator[np.ndarray]],
    on_sample: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write codes and images (uint8, `sample size size rgb`) to `folder`; resumes after the finished images.

    Args:
        generate: remaining codes to their images, one after the other.
    """
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / CODES, codes.numpy())
    done = int((folder / DONE).read_text()) if (folder / DONE).exists() else 0
    shape = (len(codes), size, size, 3)
    images = open_memmap(folder / IMAGES, "r+" if done else "w+", np.uint8, None if done else shape)
    for index, image in enumerate(generate(codes[done:]), done):
        images[index] = image
        write_atomic(folder / DONE, str(index + 1).encode())
        on_sample(index + 1, len(codes))


def open_samples(folder: Path) -> Samples:
    """Open what `write_samples` wrote; grows while it is still writing."""
    codes = torch.from_numpy(np.load(folder / CODES))
    return Samples(codes, np.load(folder / IMAGES, mmap_mode="r"), lambda: int((folder / DONE).read_text()))
