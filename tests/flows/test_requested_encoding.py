"""Refuse a request whose result cannot be encoded or written, before anything is computed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from flows.edit_job import resolve
from flows.edit_request import Edit, EditRequest
from storage.errors import UnwritableOutputError


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("out.mp4", ["encode.preset=hasty"], "encode.preset=hasty"),
        ("out.mov", ["encode.codec=ffv1"], r"out\.mov: cannot hold ffv1|single_face\.mov: cannot hold ffv1"),
        ("out.mkv", ["encode.codec=libsvtav1"], "Change encode.preset"),
    ],
)
def test_encoder_and_container_are_tried_with_the_request(
    packaged: Callable[[str], Path], tmp_path: Path, name: str, options: list[str], reason: str
) -> None:
    request = EditRequest(
        video=packaged("single_face.mp4"),
        edits=[Edit(direction="smile", strength=1)],
        output=tmp_path / name,
        options=options,
        store=str(tmp_path / "store"),
    )

    with pytest.raises(UnwritableOutputError, match=reason):
        resolve(request)

    assert list(tmp_path.iterdir()) == []
