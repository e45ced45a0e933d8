"""TL-ID and TG-ID as the literature defines them, without our guard against unlike frames."""

from pathlib import Path

import numpy as np
import pytest

from stitchedit.measure.metrics import identity_consistency

REFERENCE = Path(__file__).parent / "data" / "tlid_tgid.npz"

CASES = {
    "typical": 1e-9,
    "random": 1e-6,  # ill-conditioned on purpose
    "identical": 1e-9,
    "missing": 1e-9,
    "missing_no_adjacent_pair": 1e-9,
    "two_frames": 1e-9,
    "float32_input": 1e-9,
    "long": 1e-9,
}


@pytest.mark.parametrize(("case", "tolerance"), CASES.items())
def test_identity_consistency_equals_its_definition(case: str, tolerance: float) -> None:
    with np.load(REFERENCE) as stored:
        consistency = identity_consistency(stored[f"{case}/source"], stored[f"{case}/edit"], min_similarity=0.0)
        expected = [float(stored[f"{case}/{name}"]) for name in ("tl_id", "tg_id", "n_tl_pairs", "n_tg_pairs_ordered")]

    assert consistency == pytest.approx(expected, rel=tolerance, nan_ok=True)
