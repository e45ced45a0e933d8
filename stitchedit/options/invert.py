"""Inversion: search for codes."""

from dataclasses import dataclass
from typing import ClassVar

STARTS = ("encoder", "mean")
LARGEST_SEED = 2**63 - 1  # that PyTorch takes


@dataclass(frozen=True)
class InvertOptions:
    decide_nothing: ClassVar[frozenset[str]] = frozenset({"checkpoint_every"})  # options that are in no key

    start: str = (
        "encoder"  # `encoder`: one pass per frame; `mean`: the mean code, which takes about four times the steps
    )
    refine_steps: int = 30  # on what all frames share; 0 = as it starts
    color_steps: int = 36  # at the working size, on what is shared, for the layers that only fine images depend on
    refine_passes: int = 3  # over every frame, on what is its own; 0 = as it starts
    batch: int = 4  # faces of `work_size`, fewer where they are larger
    work_size: int = 128  # px; the generator's size at which the first two are done
    segment: int = 256  # frames optimised together; memory is bounded by it
    keyframes: int = 48  # frames that stand for the person
    learning_rate: float = 0.03
    mse_weight: float = 1.0
    lpips_weight: float = 1.0
    layer_weight: float = 0.02  # on the mean square of a layer's move: keeps codes near W, so editable
    frame_weight: float = 0.01  # on the mean square of a frame's move from where it starts
    checkpoint_every: int = 20  # steps; at most this many are lost in a crash
    seed: int = 0

    def __post_init__(self) -> None:
        if self.start not in STARTS:
            raise ValueError(f"invert.start must be one of {', '.join(STARTS)}, got {self.start!r}")
        if self.work_size < 1:
            raise ValueError(f"invert.work_size must be a size that the generator makes, got {self.work_size} px")
        if not self.learning_rate > 0:
            raise ValueError(f"invert.learning_rate must be > 0, got {self.learning_rate:g}")
        for name in ("refine_steps", "color_steps", "refine_passes"):
            if getattr(self, name) < 0:
                raise ValueError(f"invert.{name} must be >= 0, got {getattr(self, name)}")
        for name in ("mse_weight", "lpips_weight", "layer_weight", "frame_weight"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"invert.{name} must be >= 0, got {getattr(self, name):g}")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise ValueError(f"invert.seed must be in [0, {LARGEST_SEED}], got {self.seed}")
        for name in ("batch", "segment", "keyframes", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"invert.{name} must be >= 1, got {getattr(self, name)}")
