"""Rows and curves of a training log."""

import pytest

from flows.training.log import TrainingLog


def test_rows_are_means_over_the_steps_between(tmp_path):
    log = TrainingLog(tmp_path / "run.csv", every=2)
    for step, loss in enumerate([1.0, 3.0, 5.0, 7.0, 9.0], 1):
        log(step, {"loss": loss} | ({"late": 2.0} if step > 3 else {}))
    assert log.curves() == {"loss": {2: 2.0, 4: 6.0}, "late": {4: 2.0}}


def test_a_row_repeated_after_a_crash_replaces_the_first(tmp_path):
    path = tmp_path / "run.csv"
    TrainingLog(path, every=1)(1, {"loss": 1.0})
    TrainingLog(path, every=1)(1, {"loss": 4.0})
    assert TrainingLog(path).curves()["loss"] == {1: 4.0}


@pytest.mark.parametrize("names", [(), ("code",), ("code", "lpips")])
def test_curves_are_plotted(tmp_path, names):
    log = TrainingLog(tmp_path / "run.csv", every=1)
    for step in (1, 2):
        log(step, dict.fromkeys(names, float(step)))
    assert log.plot().read_bytes().startswith(b"\x89PNG")
