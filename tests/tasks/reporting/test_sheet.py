import numpy as np

from tasks.reporting.sheet import LABEL_PX, contact_sheet, grid_sheet


def image(level: int) -> np.ndarray:
    return np.full((90, 160, 3), level, np.uint8)


def test_before_stands_above_after_and_columns_in_order() -> None:
    sheet = contact_sheet([("frame 0", image(10), image(60)), ("frame 9", image(110), image(160))], height=45)

    assert sheet.shape == (LABEL_PX + 2 * 45, 2 * 80, 3)
    for column, row, level in [(0, 0, 10), (0, 1, 60), (1, 0, 110), (1, 1, 160)]:
        part = sheet[LABEL_PX + 45 * row : LABEL_PX + 45 * (row + 1), 80 * column : 80 * (column + 1)]
        assert (part == level).all()


def test_every_column_has_its_label() -> None:
    blank, *labels = (contact_sheet([(text, image(0), image(0))])[:LABEL_PX] for text in ("", "frame 0", "frame 8"))

    assert not np.array_equal(labels[0], blank)
    assert not np.array_equal(labels[0], labels[1])


def test_a_grid_has_a_label_above_each_row_of_images() -> None:
    rows = [("smile", [image(10), image(60), image(110)]), ("age", [image(20), image(70), image(120)])]
    sheet = grid_sheet(rows, side=30)

    assert sheet.shape == (2 * (LABEL_PX + 30), 3 * 30, 3)
    for row, levels in enumerate([(10, 60, 110), (20, 70, 120)]):
        top = row * (LABEL_PX + 30) + LABEL_PX
        assert sheet[top + 15, 15::30, 0].tolist() == list(levels)
    assert not np.array_equal(sheet[:LABEL_PX], sheet[LABEL_PX + 30 : 2 * LABEL_PX + 30])
