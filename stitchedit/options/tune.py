"""Tuning of the generator."""

from dataclasses import dataclass
from typing import ClassVar

from stitchedit.options.invert import LARGEST_SEED


@dataclass(frozen=True)
class TuneOptions:
    decide_nothing: ClassVar[frozenset[str]] = frozenset({"checkpoint_every"})  # options that are in no key

    passes: int = 12  # over every keyframe
    keyframes: int = 48  # at most; the most different codes
    batch: int = 2  # faces
    learning_rate: float = 2e-4
    warm_up: int = 10  # steps until the full rate; Adam's first steps are as large as the rate, whatever the gradient
    mse_weight: float = 10.0
    lpips_weight: float = 1.0
    locality_weight: float = 1.0  # keep images of other codes; 0 = off, and teeth and wrinkles fade
    locality_distance: float = 30.0  # from the code, in W+
    locality_every: int = 2  # steps
    patience: int = 4  # passes without 1 % less loss before it stops; 0 = never
    checkpoint_every: int = 50  # steps; at most this many are lost in a crash
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("passes", "keyframes", "batch", "checkpoint_every", "locality_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"tune.{name} must be >= 1, got {getattr(self, name)}")
        for name in ("learning_rate", "locality_distance"):
            if not getattr(self, name) > 0:
                raise ValueError(f"tune.{name} must be > 0, got {getattr(self, name):g}")
        for name in ("warm_up", "patience", "mse_weight", "lpips_weight", "locality_weight"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"tune.{name} must be >= 0, got {getattr(self, name):g}")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise ValueError(f"tune.seed must be in [0, {LARGEST_SEED}], got {self.seed}")
