"""Lines of stages in Prefect's run log, with clip and face."""

import logging
from pathlib import Path

import pytest
from prefect import flow, task

from flows.server.run_log import log_stages
from stitchedit.options.align import AlignOptions
from storage.artifact import Artifact, Source
from tasks.runtime.progress import Progress, report_event


@task(name="align")
def align(options: AlignOptions, photo: Source | None, key: str) -> None:
    report_event("align", "finished", key=key, seconds=1.23456)


@task(name="tune")
def tune(faces: Artifact) -> None:
    Progress("tune", "steps")(1, 2)
    report_event("tune", "noted", text="it is dark")


@task(name="encode")
def encode(faces: tuple[Artifact, ...]) -> None:
    report_event("encode", "started", key="e")


@flow
def of_two_faces(folder: Path) -> None:
    with log_stages("a.mp4"):
        align(AlignOptions(face="left"), None, "l")
        align(AlignOptions(face="photo"), Source(folder / "anna.jpg", "digest"), "a")
        anna, left = (Artifact(folder, "align", key, "digest") for key in "al")
        tune(anna)
        tune(left)
        encode((anna, left))


@pytest.fixture
def lines(prefect_server):
    """Messages in the log of task runs."""
    messages: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record):
            messages.append(record.getMessage())

    listener, logger = Listener(), logging.getLogger("prefect.task_runs")
    level = logger.level
    logger.addHandler(listener)
    logger.setLevel(logging.INFO)
    yield messages
    logger.removeHandler(listener)
    logger.setLevel(level)


def test_a_line_names_clip_face_and_stage(lines, tmp_path):
    of_two_faces(tmp_path)
    assert [line for line in lines if line.startswith("clip=")] == [
        "clip=a.mp4 face=left stage=align event=finished key=l seconds=1.235",
        "clip=a.mp4 face=anna.jpg stage=align event=finished key=a seconds=1.235",
        'clip=a.mp4 face=anna.jpg stage=tune event=noted text="it is dark"',
        'clip=a.mp4 face=left stage=tune event=noted text="it is dark"',
        "clip=a.mp4 stage=encode event=started key=e",
    ]
