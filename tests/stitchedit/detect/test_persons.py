import numpy as np
import pytest

from stitchedit.detect.persons import PHOTO, Person, check_choice, choose_person
from stitchedit.errors import NoFaceError, UnknownNameError
from stitchedit.options.align import AlignOptions

ANNA, BERT = 1.4 * np.eye(128)[:2]  # two persons' descriptors, 2 apart


def person(number: int, x: float, y: float, who: np.ndarray) -> Person:
    """Somebody whose face of 100 px lies at (x, y) in two frames of one track."""
    box = np.array([x, y, x + 100, y + 100])
    return Person(number, np.stack([box, box]), who[None], np.array([2.0]))


COUPLE = [person(0, 300, 50, ANNA), person(1, 20, 90, BERT)]


@pytest.mark.parametrize(
    ("choice", "number"),
    [("0", 0), ("1", 1), ("largest", 0), ("smallest", 1), ("left", 1), ("right", 0), ("top", 0), ("bottom", 1)],
)
def test_a_person_is_chosen_by_number_size_or_place(choice: str, number: int) -> None:
    assert choose_person(COUPLE, choice) == number
    assert choose_person(COUPLE[::-1], choice) == number


@pytest.mark.parametrize("choice", ["00", "01", "+1", "٣", "1_0", "9" * 5000, ""])
def test_a_number_is_written_in_one_way(choice: str) -> None:
    with pytest.raises(UnknownNameError, match=r"No face '.{0,40}'\."):
        check_choice(choice)


def test_a_photo_chooses_its_person() -> None:
    rng = np.random.default_rng(0)
    for number, who in enumerate((ANNA, BERT)):
        assert choose_person(COUPLE, PHOTO, who + 0.02 * rng.standard_normal(128)) == number


def test_a_photo_of_somebody_else_is_refused_with_distances() -> None:
    with pytest.raises(
        NoFaceError, match=r"distances by person are 0: 1\.98, 1: 1\.98, and one person's are below 0\.6"
    ):
        choose_person(COUPLE, PHOTO, 1.4 * np.eye(128)[2])


def test_a_long_track_says_more_of_who_it_is_than_a_short_one() -> None:
    boxes = np.zeros((4, 4))
    both = Person(0, boxes, np.stack([ANNA, BERT]), np.array([3.0, 1.0]))
    np.testing.assert_allclose(both.descriptor, 0.75 * ANNA + 0.25 * BERT)


def test_a_person_who_is_not_there_is_named() -> None:
    with pytest.raises(UnknownNameError, match=r"No person '3'\. There are: 0, 1\."):
        choose_person(COUPLE, "3")


@pytest.mark.parametrize("choice", ["lefft", "-1", "1.5", ""])
def test_a_word_that_chooses_nobody_is_refused(choice: str) -> None:
    with pytest.raises(UnknownNameError, match="face"):
        AlignOptions(face=choice)
