"""Escape text of users in Markdown, such as Prefect's pages show."""

import re

from storage.safe_text import printable, redacted

_MARKS = re.compile(r"[\\`*_{}\[\]<>#|~!&$@]")
_ADDRESS = re.compile(r"://|\bwww\.", re.IGNORECASE)  # linked without any mark
_BLOCK = re.compile(r"^(\s*)([-+=]|\d+(?=[.)]))")  # a list, a rule or a heading, at the beginning of a line


def markdown(text: object) -> str:
    """`text` on one line, so that Markdown and the HTML in it show exactly that."""
    marked = _MARKS.sub(r"\\\g<0>", redacted(printable(str(text))))
    without_links = _ADDRESS.sub(lambda found: f"{found[0][:-1]}\\{found[0][-1]}", marked)
    return _BLOCK.sub(_guarded, without_links)


def _guarded(found: re.Match[str]) -> str:
    spaces, mark = found.groups()
    return f"{spaces}&#{ord(mark[0])};{mark[1:]}"
