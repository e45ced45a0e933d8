"""PQ and HLG as SDR images, against the formulas and numbers of BT.2100, BT.2087 and BT.2408."""

import numpy as np
import pytest

from storage.video.tone import HLG, PQ, tone_map

BT2020, P3 = 9, 12
BT2087 = [(1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187)]  # to BT.709


def pq_nits(signal: np.ndarray) -> np.ndarray:
    """BT.2100-2 table 4, in doubles."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    root = signal ** (1 / m2)
    return 10000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)


def hlg_nits(signal: np.ndarray) -> np.ndarray:
    """BT.2100-2 table 5 on a display of 1000 cd/m2, its gamma per channel."""
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    return 1000 * scene**1.2


def mapped(nits: np.ndarray, peak: float) -> np.ndarray:
    """Reinhard et al. 2002, equation 4, in units of 203 cd/m2."""
    light, white = nits / 203, peak / 203
    return light * (1 + light / white**2) / (1 + light)


CURVES = [(PQ, pq_nits, 10000), (HLG, hlg_nits, 1000)]


@pytest.mark.parametrize(("transfer", "nits", "peak"), CURVES)
def test_grays_follow_the_published_curves(transfer, nits, peak):
    signal = np.linspace(0, 1, 1024)
    levels = tone_map(transfer, BT2020).to_display(np.repeat(signal[:, None] * 255, 3, axis=1))
    expected = 255 * mapped(nits(signal), peak) ** (1 / 2.4)
    np.testing.assert_allclose(levels, np.repeat(expected[:, None], 3, axis=1), atol=0.02)
    assert (np.diff(levels, axis=0) > 0).all()


@pytest.mark.parametrize(("transfer", "nits", "peak"), CURVES)
def test_colors_are_those_of_bt709(transfer, nits, peak):
    signal = np.random.default_rng(0).uniform(0.2, 0.7, (500, 3))
    linear = mapped(nits(signal), peak) @ np.array(BT2087).T
    expected = 255 * np.sign(linear) * np.abs(linear) ** (1 / 2.4)
    sound = (np.abs(linear) > 0.01).all(axis=1)  # the table has four digits
    assert sound.sum() > 300
    np.testing.assert_allclose(tone_map(transfer, BT2020).to_display(signal * 255)[sound], expected[sound], atol=0.4)


@pytest.mark.parametrize(("transfer", "signal"), [(PQ, 0.5807), (HLG, 0.75)])
def test_reference_white_is_the_same_level_in_both(transfer, signal):
    """BT.2408: 203 cd/m2 is 58 % of PQ and 75 % of HLG."""
    level = float(tone_map(transfer, BT2020).to_display(np.full((1, 3), 255 * signal))[0, 0])
    assert level == pytest.approx(255 * 0.5 ** (1 / 2.4), abs=3.5)


@pytest.mark.parametrize("transfer", [PQ, HLG])
@pytest.mark.parametrize("primaries", [BT2020, P3, 1, 2])
def test_every_color_is_restored_by_the_inverse(transfer, primaries):
    """Also outside of black and white, which codecs can produce."""
    signal = np.random.default_rng(1).uniform(-10, 262, (50_000, 3)).astype(np.float32)
    tone = tone_map(transfer, primaries)
    levels = tone.to_display(signal)
    assert np.isfinite(levels).all()
    error = np.abs(tone.to_coded(levels) - signal)
    assert np.quantile(error, 0.999) < 0.02
    assert error.max() < 0.5  # of a channel that is black in a color at the very edge of the gamut


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_grays_are_restored_to_a_fraction_of_a_12_bit_code(transfer):
    tone = tone_map(transfer, BT2020)
    signal = np.repeat(np.linspace(0, 255, 4096, dtype=np.float32)[:, None], 3, axis=1)
    np.testing.assert_allclose(tone.to_coded(tone.to_display(signal)), signal, atol=0.3 * 255 / 4095)


@pytest.mark.parametrize("transfer", [0, 1, 2, 6, 13, 14, 15])
def test_sdr_has_no_tone_map(transfer):
    assert tone_map(transfer, BT2020) is None
