"""Persons that `detect` found, and the one that `align` chose."""

import json
from collections.abc import Sequence

import numpy as np

from stitchedit.detect.persons import Person
from stitchedit.errors import InputError
from storage.arrays.frame_array import FrameArray
from storage.artifact import Artifact
from storage.errors import DamagedError
from storage.store import Store

PERSON = "person.json"  # number of the chosen person


def read_persons(detected: Artifact) -> list[Person]:
    """All persons that `detect` found, by number."""
    track, person, box = (FrameArray.open(detected.path / name).read() for name in ("track", "person", "box"))
    descriptors = FrameArray.open(detected.path / "descriptors").read()
    persons = []
    for number in np.unique(person):
        tracks, faces = np.unique(track[person == number], return_counts=True)
        persons.append(Person(int(number), box[person == number], descriptors[tracks], faces.astype(float)))
    return persons


def person_rows(detected: Artifact, person: int) -> dict[str, np.ndarray]:
    """Rows of one person, ordered by frame."""
    columns = {"frames": "frame", "runs": "track", "interpolated": "interpolated", "landmarks": "landmarks"}
    read = {name: FrameArray.open(detected.path / column).read() for name, column in columns.items()}
    rows = np.flatnonzero(FrameArray.open(detected.path / "person").read() == person)
    order = rows[np.lexsort((read["runs"][rows], read["frames"][rows]))]
    return {name: values[order] for name, values in read.items()}


def check_different(store: Store, choices: Sequence[str], aligned: Sequence[Artifact]) -> None:
    """Refuse two choices of the same person: one of the edits would be lost.

    Args:
        choices: as the user gave them, in the order of `aligned`.

    Raises:
        InputError: two are the same person.
    """
    chosen: dict[int, str] = {}
    for choice, faces in zip(choices, aligned, strict=True):
        stored = store.backend.objects.read(f"{faces.stage}/{faces.key}/{PERSON}")
        if stored is None:
            store.report_damage(faces.path / PERSON)
            raise DamagedError(f"{faces.stage}/{faces.key} has lost {PERSON}.", faces.path / PERSON)
        person = json.loads(stored.value)["person"]
        if person in chosen:
            raise InputError(
                f"{chosen[person]} and {choice} are the same person of this clip (number {person} by size), who can be "
                f"given once. Put all edits into one: --face {chosen[person]}:smile=+2,age=-3; or choose another face."
            )
        chosen[person] = choice
