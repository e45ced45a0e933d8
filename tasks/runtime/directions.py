"""Edit directions from the user's own file."""

import re
from pathlib import Path

import numpy as np

from stitchedit.errors import InputError
from storage.errors import DamagedError
from storage.weights.state_dict import load_tensors
from tasks.runtime.pretrained import pretrained


def packaged_directions() -> dict[str, np.ndarray]:
    """Every packaged direction by name, `layer channel`, unverified."""
    return load_tensors(pretrained()["directions"].locate())


def read_own_directions(path: Path) -> dict[str, np.ndarray]:
    """Directions of the user's own file by name, `layer channel`.

    Raises:
        InputError: it is no such file, or gives a packaged direction's name to another one.
    """
    if not path.is_file():  # a pipe would be waited for
        raise InputError(f"There is no file {path} of directions (edit.directions). Check its name.")
    packaged = packaged_directions()
    shape = next(iter(packaged.values())).shape
    try:
        tensors = load_tensors(path)
    except (DamagedError, OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{path} cannot be read as a file of directions (edit.directions). Give one that `stitchedit directions "
            "fit` wrote."
        ) from error
    if not tensors:
        raise InputError(f"{path} holds no direction (edit.directions). Fit one with `stitchedit directions fit`.")
    for name, values in tensors.items():
        if values.shape != shape:
            raise InputError(
                f"{path}: {name!r} is {values.shape}, and a direction is {tuple(shape)}, layer by channel."
            )
        if not np.issubdtype(values.dtype, np.floating) or not np.isfinite(values).all():
            raise InputError(f"{path}: {name!r} holds what is not a finite number ({values.dtype}). Fit it again.")
        if not re.fullmatch(r"[A-Za-z_]\w*", name):  # it becomes part of a file name
            raise InputError(f"{path}: {name[:80]!r} is no name of a direction: letters, digits and _, a letter first.")
        if name in packaged:
            raise InputError(f"{path}: {name!r} is the name of a packaged direction. Fit yours under another name.")
    return tensors
