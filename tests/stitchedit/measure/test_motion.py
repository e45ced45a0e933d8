import numpy as np
import pytest

from stitchedit.measure.motion import source_flow, warp_error

STEP = 3  # px per frame


@pytest.fixture
def texture() -> np.ndarray:
    """Something to follow: noise that is smooth over some pixels."""
    random = np.random.default_rng(0)
    coarse = random.integers(40, 216, (26, 36, 3)).astype(np.float32)
    return np.kron(coarse, np.ones((8, 8, 1))).astype(np.uint8)


@pytest.fixture
def moving(texture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two frames of 160x240, the image moved to the left by STEP px."""
    return texture[20:180, 20:260].copy(), texture[20:180, 20 + STEP : 260 + STEP].copy()


def middle(shape: tuple[int, int]) -> np.ndarray:
    inside = np.zeros(shape, bool)
    inside[30:-30, 30:-30] = True
    return inside


def test_flow_leads_back_to_where_a_pixel_came_from(moving: tuple[np.ndarray, np.ndarray]) -> None:
    flow, trusted = source_flow(*moving)
    where = trusted & middle(trusted.shape)
    assert where.sum() > 0.5 * middle(trusted.shape).sum()
    assert np.median(flow[where], axis=0) == pytest.approx([STEP, 0], abs=0.2)


def test_what_moves_with_the_source_has_no_error(moving: tuple[np.ndarray, np.ndarray]) -> None:
    before, now = moving
    flow, trusted = source_flow(before, now)
    still = np.abs(before.astype(int) - now).mean()
    assert warp_error(before, now, flow, trusted & middle(trusted.shape)) < 0.15 * still


def test_what_flickers_has_an_error_of_its_size(moving: tuple[np.ndarray, np.ndarray]) -> None:
    before, now = moving
    flow, trusted = source_flow(before, now)
    where = trusted & middle(trusted.shape)
    steady = warp_error(before, now, flow, where)
    brighter = warp_error(before, now + 30, flow, where)
    assert brighter == pytest.approx(30, abs=2 * steady + 0.5)


def test_nowhere_to_look_is_no_number(moving: tuple[np.ndarray, np.ndarray]) -> None:
    flow, trusted = source_flow(*moving)
    assert np.isnan(warp_error(*moving, flow, np.zeros_like(trusted)))
