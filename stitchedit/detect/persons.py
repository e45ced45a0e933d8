"""Choice of one person of a clip: by number, size, place, or by a photo."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from stitchedit.arrays import Boxes
from stitchedit.errors import NoFaceError, UnknownNameError
from stitchedit.nets.recognition import SAME_PERSON

Descriptor = Float[np.ndarray, "128"]  # in dlib's scale

PHOTO = "photo"  # the choice that a photo decides
NUMBER = re.compile(r"0|[1-9][0-9]{0,3}")  # one way to write each, so that nobody is chosen twice unseen
SHOWN = 40  # characters of a choice that is refused


@dataclass(frozen=True, eq=False)
class Person:
    """Properties of one person that a choice may refer to."""

    number: int  # by area over the clip, 0 = the largest
    boxes: Boxes  # left, top, right, bottom in px of the view
    descriptors: Float[np.ndarray, "track 128"]
    faces: Float[np.ndarray, " track"]  # in each track, which its descriptor weighs by

    @property
    def place(self) -> np.ndarray:
        """Median centre of the face, x and y in px of the view."""
        return np.asarray(np.median((self.boxes[:, :2] + self.boxes[:, 2:]) / 2, axis=0))

    @property
    def descriptor(self) -> Descriptor:
        return np.asarray(np.average(self.descriptors, axis=0, weights=self.faces))


PLACES: dict[str, Callable[[Person], float]] = {  # the person with the smallest value is chosen
    "largest": lambda person: person.number,
    "smallest": lambda person: -person.number,
    "left": lambda person: person.place[0],
    "right": lambda person: -person.place[0],
    "top": lambda person: person.place[1],
    "bottom": lambda person: -person.place[1],
}


def check_choice(choice: str) -> None:
    """Refuse an invalid choice of a person.

    Raises:
        UnknownNameError: neither a number nor one of the words.
    """
    if not (NUMBER.fullmatch(choice) or choice in PLACES or choice == PHOTO):
        raise UnknownNameError("face", choice[:SHOWN], ["0", "1", "…", *PLACES, "the path of a photo"])


def choose_person(persons: list[Person], choice: str, photo: Descriptor | None = None) -> int:
    """Number of the person that `choice` means.

    Args:
        choice: a number, a word of `PLACES`, or `PHOTO` for the person on `photo`.

    Raises:
        UnknownNameError: there are not so many persons.
        NoFaceError: nobody in the clip is the person of the photo.
    """
    if choice == PHOTO:
        assert photo is not None
        return _person_of_photo(persons, photo)
    if choice in PLACES:
        return min(persons, key=PLACES[choice]).number
    if not NUMBER.fullmatch(choice) or int(choice) >= len(persons):
        raise UnknownNameError("person", choice, [str(person.number) for person in persons])
    return int(choice)


def _person_of_photo(persons: list[Person], photo: Descriptor) -> int:
    distances = {person.number: float(np.linalg.norm(person.descriptor - photo)) for person in persons}
    nearest = min(distances, key=lambda number: distances[number])
    if distances[nearest] >= SAME_PERSON:
        listed = ", ".join(f"{number}: {distance:.2f}" for number, distance in distances.items())
        raise NoFaceError(
            f"Nobody in the clip is the person of the photo: distances by person are {listed}, and one person's are "
            f"below {SAME_PERSON:g}. Give a clearer photo, or choose by number (--face 0)."
        )
    return nearest
