"""Report page of an edit: one file that opens offline."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from stitchedit.arrays import Frame
from storage.safe_text import printable
from tasks.reporting.markdown import markdown

TEMPLATE = "report.html.j2"
SUMMARY = "summary.md"
JPEG_QUALITY = 90
NUMBERS = {  # of a track: name -> how it is called, and how it is written
    "tl_id": ("TL-ID", "{:.4f}"),
    "tg_id": ("TG-ID", "{:.4f}"),
    "ring": ("ring error, levels", "{:.2f}"),
    "outside": ("outside the mask, levels", "{:.0f}"),
    "warp_ratio": ("warp error, of the source's", "{:.2f}"),
    "lpips": ("inversion LPIPS", "{:.3f}"),
    "ssim": ("SSIM", "{:.3f}"),
    "ms_ssim": ("MS-SSIM", "{:.3f}"),
    "psnr_db": ("PSNR, dB", "{:.1f}"),
}


@dataclass(frozen=True)
class Pair:
    """The same part of a frame before and after, as data URIs."""

    label: str
    before: str
    after: str
    difference: str = ""
    why: str = ""


@dataclass(frozen=True)
class PersonReport:
    """One face that was edited."""

    title: str
    measures: Mapping[str, Any]  # measures.json
    plots: str  # SVG
    worst: list[Pair]


@dataclass(frozen=True)
class Report:
    """Everything on the page."""

    clip: str
    edit: str
    verdict: str
    frames: list[Pair]  # for the slider
    persons: list[PersonReport]
    preview: str  # data URI; empty when it is too large, and is the file that lies beside the page
    stages: list[tuple[str, str, str, str]] = field(default_factory=list)  # stage, key, seconds, host
    settings: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def report_page(report: Report) -> str:
    """The page as HTML."""
    environment = page_environment(Path(__file__).parent)
    environment.filters["number"] = format_number
    plots = [Markup(_own_ids(person.plots, index)) for index, person in enumerate(report.persons)]
    return environment.get_template(TEMPLATE).render(report=report, plots=plots, numbers=NUMBERS)


def page_environment(folder: Path) -> Environment:
    """Templates of `folder`, in which text is text: HTML is escaped, control characters are written out."""
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: printable(value) if type(value) is str else value,  # not Markup, which is ours
        trim_blocks=True,
    )


def markdown_summary(report: Report) -> str:
    """Verdict and numbers as Markdown, for Prefect's page of the run."""
    lines = [f"**{markdown(report.clip)}** · {markdown(report.edit)} · **{report.verdict}**", ""]
    for person in report.persons:
        lines += [
            f"### {markdown(person.title)}",
            "",
            f"| frames | {' | '.join(name for name, _ in NUMBERS.values())} | moved |",
        ]
        lines.append("|---" * (len(NUMBERS) + 2) + "|")
        for track in person.measures["tracks"]:
            first, last = track["frames"]
            values = [format_number(track["numbers"].get(name), form) for name, (_, form) in NUMBERS.items()]
            strengths = track["strength"].items()
            moved = ", ".join(f"{markdown(name)} {format_number(value, '{:+.2f}')}" for name, value in strengths)
            lines.append(f"| {first}–{last} | {' | '.join(values)} | {moved} |")
        lines += ["", *(f"* {markdown(reason)}" for reason in person.measures["reasons"])]
    return "\n".join(lines) + "\n"


def format_number(value: float | None, form: str) -> str:
    """A number in the form of a format string, or a dash where there is none."""
    return "–" if value is None else form.format(value)


def data_uri(image: Frame) -> str:
    """Data URI of an image."""
    done, coded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done
    return f"data:image/jpeg;base64,{b64encode(coded.tobytes()).decode()}"


def magnified_difference(before: Frame, after: Frame) -> Frame:
    """Four times what changed, on gray."""
    return np.asarray(np.clip(128 + 4 * (after.astype(int) - before), 0, 255).astype(np.uint8))


def _own_ids(svg: str, number: int) -> str:
    """`svg` without its XML head, with ids that no other image of the page has."""
    body = svg[svg.index("<svg") :]
    for mark in ('id="', 'href="#', "url(#"):
        body = body.replace(mark, f"{mark}p{number}-")
    return body
