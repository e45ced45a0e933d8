import numpy as np

from stitchedit.sheet import LABEL_PX, contact_sheet


def picture(level: int) -> np.ndarray:
    return np.full((90, 160, 3), level, np.uint8)


def test_before_stands_above_after_and_columns_in_order() -> None:
    sheet = contact_sheet([("frame 0", picture(10), picture(60)), ("frame 9", picture(110), picture(160))], height=45)

    assert sheet.shape == (LABEL_PX + 2 * 45, 2 * 80, 3)
    for column, row, level in [(0, 0, 10), (0, 1, 60), (1, 0, 110), (1, 1, 160)]:
        part = sheet[LABEL_PX + 45 * row : LABEL_PX + 45 * (row + 1), 80 * column : 80 * (column + 1)]
        assert (part == level).all()


def test_every_column_has_its_label() -> None:
    blank, *labels = (contact_sheet([(text, picture(0), picture(0))])[:LABEL_PX] for text in ("", "frame 0", "frame 8"))

    assert not np.array_equal(labels[0], blank)
    assert not np.array_equal(labels[0], labels[1])
