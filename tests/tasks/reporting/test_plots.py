from xml.etree import ElementTree

import numpy as np

from tasks.reporting.plots import Panel, plot_over_time

FRAMES, RUNS = np.array([0, 1, 2, 10, 11, 12]), np.array([0, 0, 0, 1, 1, 1])
PANELS = [
    Panel("ring error", {"result": np.array([1.0, 2, 1, 3, np.nan, 1])}, {"review": [2.0]}),
    Panel("warp error", {"source": np.arange(6.0), "result": np.arange(6.0) + 1}),
]


def test_the_image_names_its_panels_and_lines() -> None:
    texts = {element.text for element in ElementTree.fromstring(plot_over_time(FRAMES, RUNS, PANELS)).iter()}
    assert {"ring error", "warp error", "source", "result", "frame"} <= texts


def test_the_same_numbers_give_the_same_file() -> None:
    assert plot_over_time(FRAMES, RUNS, PANELS) == plot_over_time(FRAMES, RUNS, PANELS)


def test_other_numbers_give_another_file() -> None:
    other = [PANELS[0], Panel("warp error", {"source": np.arange(6.0), "result": np.arange(6.0) + 2})]
    assert plot_over_time(FRAMES, RUNS, PANELS) != plot_over_time(FRAMES, RUNS, other)
