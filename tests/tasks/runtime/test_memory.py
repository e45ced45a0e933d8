import subprocess
import sys

import pytest

# Takes, touches and frees 64 MB twenty times, as a network does; prints how many pages were new to the process.
CHILD = """
import ctypes, resource, sys
from tasks.runtime.memory import keep_freed_memory

library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.free.argtypes = [ctypes.c_void_p]
library.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
if sys.argv[1] == "keep":
    keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    block = library.malloc(64 << 20)
    library.memset(block, 1, 64 << 20)
    library.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_memory_is_used_again_instead_of_fresh_pages() -> None:
    def new_pages(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", CHILD, how], check=True, capture_output=True, text=True)
        return int(done.stdout)

    assert new_pages("keep") < new_pages("as it comes") / 5


RELEASE = """
import ctypes
from pathlib import Path
from tasks.runtime.memory import keep_freed_memory, release_freed_memory

library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.free.argtypes = [ctypes.c_void_p]
library.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])

keep_freed_memory()
block = library.malloc(256 << 20)
library.memset(block, 1, 256 << 20)
library.free(block)
kept = resident()
release_freed_memory()
print(kept, resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_release_gives_back_what_was_kept() -> None:
    done = subprocess.run([sys.executable, "-c", RELEASE], check=True, capture_output=True, text=True)
    kept, released = map(int, done.stdout.split())
    assert released < kept - (200 << 20) // 4096
