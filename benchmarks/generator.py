"""Seconds per image of the generator on this machine, by memory layout and allocator.

    python benchmarks/generator.py            # all four, one after the other, each in its own process
    python benchmarks/generator.py --size 512

Ratios hold on a shared machine, seconds do not.
"""

import argparse
import subprocess
import sys
import time
from itertools import product

LAYOUTS, ALLOCATORS = ("contiguous", "channels_last"), ("as_is", "keep_freed_memory")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="px")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--one", nargs=2, metavar=("LAYOUT", "ALLOCATOR"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measure(*options.one, options.size, options.repeats)
        return
    for layout, allocator in product(LAYOUTS, ALLOCATORS):
        arguments = ["--size", str(options.size), "--repeats", str(options.repeats), "--one", layout, allocator]
        subprocess.run([sys.executable, __file__, *arguments], check=True)


def measure(layout: str, allocator: str, size: int, repeats: int) -> None:
    """Print the median seconds of a forward pass and of forward and backward."""
    import torch  # noqa: PLC0415 - the allocator is set first

    from stitchedit.nets.mobile_stylegan import MobileStyleGAN  # noqa: PLC0415
    from tasks.runtime.memory import keep_freed_memory  # noqa: PLC0415

    if allocator == "keep_freed_memory":
        keep_freed_memory()
    generator = MobileStyleGAN((size,)).requires_grad_(True)
    if layout == "channels_last":
        generator = generator.to(memory_format=torch.channels_last)
    codes = torch.randn(1, generator.layers, generator.channels, generator=torch.Generator().manual_seed(0))

    def median(run) -> float:
        run()
        seconds = []
        for _ in range(repeats):
            began = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - began)
        return sorted(seconds)[len(seconds) // 2]

    with torch.no_grad():
        forward = median(lambda: generator(codes, size))
    both = median(lambda: generator(codes, size).square().mean().backward())
    print(f"{size} px  {layout:<14} {allocator:<18} forward {forward:.3f} s   with backward {both:.3f} s", flush=True)


if __name__ == "__main__":
    main()
