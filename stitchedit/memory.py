"""How this process treats memory that it has freed."""

import ctypes
import logging
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # names of mallopt(3)
KEPT = 1 << 30  # bytes; blocks up to here come from the heap and stay there when freed

logger = logging.getLogger(__name__)


def keep_freed_memory() -> None:
    """Keep freed blocks for the next step instead of giving each back to the kernel.

    Networks on a CPU free and take the same large blocks at every step; glibc maps each anew, and touching fresh pages
    took up to half of all time (benchmarks/generator.py). Elsewhere than on glibc this does nothing.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        logger.info("This C library has no mallopt; freed memory goes back to the kernel at every step.")
        return
    library.mallopt(M_MMAP_THRESHOLD, KEPT)
    library.mallopt(M_TRIM_THRESHOLD, KEPT)


def release_freed_memory() -> None:
    """Give back what `keep_freed_memory` kept: between stages, so that one's leftovers do not add to the next one's."""
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)
