"""Freed memory: kept within a stage, returned between stages."""

import ctypes
import gc
import logging
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # names of mallopt(3)
KEPT = 1 << 30  # bytes; blocks up to here come from the heap and stay there when freed

logger = logging.getLogger(__name__)


def keep_freed_memory() -> None:
    """Keep freed blocks for the next step instead of giving each back to the kernel.

    Networks on a CPU free and take the same large blocks at every step; glibc maps each again, and touching fresh pages
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
    """Give memory back between stages, so that one's leftovers do not add to the next one's.

    On a CPU what `keep_freed_memory` kept; on a GPU what PyTorch keeps, for other runs that share it.
    """
    torch = sys.modules.get("torch")  # importing it takes seconds, and only who imported it has memory there
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()  # captured graphs and what they belong to refer to each other
        torch.cuda.empty_cache()
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)
