import numpy as np
import pytest

from stitchedit.steady import smoothed_rows

TIMES = np.array([0.0, 0.04, 0.08, 0.12, 0.16, 0.2, 0.24, 0.28])
RUNS = np.array([0, 0, 0, 0, 0, 1, 1, 1])


def rows_of(values, sigma, times=TIMES, runs=RUNS):
    smoothed = smoothed_rows(lambda row: np.array([values[row]], float), times, runs, sigma)
    return np.array([smoothed(row)[0] for row in range(len(values))])


def test_a_row_is_a_gaussian_mean_of_those_around_it():
    values = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0])
    weights = np.exp(-0.5 * (np.array([0.04, 0.0, -0.04, -0.08]) / 0.03) ** 2)
    assert rows_of(values, 0.03)[1] == pytest.approx((weights * values[:4]).sum() / weights.sum(), abs=1e-6)


def test_no_other_run_is_let_in():
    assert rows_of([0, 0, 0, 0, 0, 1, 1, 1], 0.1).tolist() == [0, 0, 0, 0, 0, 1, 1, 1]


def test_what_comes_and_goes_stays_where_it_is_in_time():
    smoothed = rows_of([0, 0, 1, 0, 0, 0, 0, 0], 0.03)
    np.testing.assert_allclose(smoothed[:2], smoothed[4:2:-1], atol=1e-6)
    assert smoothed.argmax() == 2


def test_seconds_count_and_not_frames():
    often = rows_of([0, 0, 0, 0, 1, 0, 0, 0], 0.03, np.arange(8) / 60, np.zeros(8))
    seldom = rows_of([0, 0, 0, 0, 1, 0, 0, 0], 0.03, np.arange(8) / 12, np.zeros(8))
    assert often[4] < 0.5 < seldom[4]


def test_nothing_is_smoothed_without_a_sigma_and_a_row_is_read_once_if_they_come_in_order():
    assert rows_of([0, 1, 0, 1, 0, 1, 0, 1], 0).tolist() == [0, 1, 0, 1, 0, 1, 0, 1]
    asked = []
    smoothed = smoothed_rows(lambda row: np.array([asked.append(row) or 1.0]), TIMES, np.zeros(8), 0.03)
    for row in range(8):
        smoothed(row)
    assert asked == list(range(8))
