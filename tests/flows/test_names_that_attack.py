"""File names and messages with HTML, Markdown, terminal and log syntax are displayed literally."""

import html
import json
import logging
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from flows.catalog.jobs import first_line
from flows.catalog.outcomes import Outcome, StageTime
from flows.catalog.reading import OpenCatalog, open_catalog
from flows.catalog.summary import summary_markdown, summary_table, write_summary
from flows.cli.display import RunDisplay
from flows.cli.terminal import escape
from flows.requests.output_files import exported_files
from flows.server.artifacts import link_page, show_edit
from flows.server.run_log import format_value
from storage.safe_text import printable
from storage.store import Store
from tasks.reporting.markdown import markdown
from tasks.reporting.report_page import Pair, PersonReport, Report, markdown_summary, report_page
from tasks.runtime.progress import report_event

NAMES = [
    "javascript:alert(1).mp4",
    "<img src=x onerror=alert(1)>.mp4",
    '"><script>alert(1)<x script>.mp4',
    "</script><script>alert(1)//.mp4".replace("/", "\u2215"),
    "a|b`c`[d](http:e)![i](x).mp4",
    "**bold** _x_ ~y~ #1 @all <!channel> $x^2$.mp4",
    "new\nline\r.mp4",
    "\x1b[2J\x1b]0;owned\x07.mp4",
    "[red]x[/red] [/] [/bold].mp4",
    "$\\frac{$.mp4",
    "&lt;b&gt; %3Cb%3E ?q#f.mp4",
    "caf\udce9.mp4",
    "gpj.\u202e4pm.mp4",
]


class Links(HTMLParser):
    """Tags and links of a page, as a browser parses them."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.tags, self.links, self.text = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in {"href", "src"}]
        assert not any(name.startswith("on") for name, _ in attributes)

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def opened(tmp_path) -> OpenCatalog:
    (tmp_path / "night.yaml").write_text(json.dumps({"catalog": "night", "clips": []}))
    return open_catalog(tmp_path / "night.yaml")


def outcome_of(name, folder, **more):
    stages = [StageTime("tune", False, "2026-11-24T01:00:00+00:00", 9.0)]
    shared = {"edit": name, "request": {}, "file": (1, 1), "code": "", "tags": [name], "stages": stages}
    place = folder / name.replace("/", "_")
    return Outcome("1", str(folder / name), str(place), state="published", reasons=[name], **shared, **more)


def read_page(catalog, outcome):
    store = Store.at(catalog.folder / "store")
    return Links(write_summary(catalog, [outcome], store).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_the_page_of_a_catalog_links_to_the_report_and_runs_no_code(opened, name):
    outcome = outcome_of(name, opened.folder, decision={"what": name, "by": name, "on": name})
    report = exported_files(outcome.place)["report"]
    report.write_text("report")
    catalog = replace(opened, notes=[name])
    read, usual = read_page(catalog, outcome), read_page(opened, outcome_of("a.mp4", opened.folder))
    assert set(read.tags) - {"a"} <= set(usual.tags)
    (link,) = [link for link in read.links if not link.startswith("data:")]
    assert not urlsplit(link).scheme
    assert os.fsencode(unquote(link, errors="surrogateescape")) == os.fsencode(report.name)


def test_a_report_outside_the_folder_is_linked_by_its_full_address(opened, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("else where")
    outcome = outcome_of("a b.mp4", elsewhere)
    exported_files(outcome.place)["report"].write_text("report")
    (link,) = [link for link in read_page(opened, outcome).links if link[:5] != "data:"]
    assert link == exported_files(outcome.place)["report"].as_uri()


@pytest.mark.parametrize("name", NAMES)
def test_the_page_of_an_edit_shows_a_name_and_runs_no_code(name):
    track = {
        "frames": [0, 5], "faces": 6, "numbers": {}, "strength": {name: 1.0}, "side_effects": {name: 0.5},
        "verdict": "review",
    }  # fmt: skip
    pair = Pair(name, "data:image/jpeg;base64,AA", 'data:image/jpeg;base64,</script><script>alert("', "data:,", name)
    measures = {"tracks": [track], "verdict": "review", "reasons": [name]}
    person = PersonReport(name, measures, "<svg></svg>", [pair])
    usual = Links(report_page(Report("a", "b", "review", [pair], [replace(person, title="face")], "")))
    shown = [(name, name, name, name)]
    report = Report(name, name, "review", [pair], [person], "", shown, [(name, name)], [name])
    page = report_page(report)
    read = Links(page)
    assert set(read.tags) <= {*usual.tags, "li", "ul"}
    assert page.count("<script") == 2
    assert printable(name) in html.unescape(page)
    assert {urlsplit(link).scheme for link in read.links} == {"data"}


def read_markdown(text):
    """Tags and links of Markdown rendered as CommonMark with tables."""
    return Links(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text))


@pytest.mark.parametrize("name", NAMES)
def test_markdown_shows_a_name_literally(opened, name):
    read = read_markdown(markdown(name))
    assert (read.tags, "".join(read.text).strip()) == (["p"], printable(name))

    outcome = outcome_of(name, opened.folder)
    read = read_markdown(summary_markdown(replace(opened, notes=[name]), [outcome], opened.folder / name))
    assert read.text.count(printable(name)) == 3 + ("/" not in name)  # the note, the edit, the reason, and the file
    assert not {"a", "img", "h1", "script", "code", "em", "del"} & set(read.tags)
    assert (read.tags.count("td"), read.tags.count("strong")) == (5, 1)

    row = summary_table([outcome])[0]
    assert all("".join(read_markdown(row[column]).text).strip() == printable(name) for column in ("edit", "why"))
    summary = read_markdown(markdown_summary(Report(name, name, "review", [], [], "")))
    assert "".join(summary.text).strip() == f"{printable(name)} · {printable(name)} · review"


def test_markdown_has_no_lists_links_or_headings():
    assert [markdown(text) for text in ("- a", "1. a", "# a", "= a", "+ a", "www.x.y", "http://x")] == [
        "&#45; a", "&#49;. a", "\\# a", "&#61; a", "&#43; a", "www\\.x.y", "http:/\\/x",
    ]  # fmt: skip
    assert markdown("smile+2, age-3 (12 of 13) a_b.mp4") == "smile+2, age-3 (12 of 13) a\\_b.mp4"


@pytest.mark.parametrize("name", NAMES)
def test_the_command_line_shows_a_name_literally(name):
    text = StringIO()
    console = Console(file=text, force_terminal=True, width=400)
    with RunDisplay(console):
        report_event("detect", "noted", text=f"{name}: it is dark")
    console.print(f"[bold]{escape(name)}[/bold]")
    console.print(escape(f"{name}\nnext line"))
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text.getvalue())  # rich's own
    assert "\x1b" not in shown
    assert shown.encode()
    if name.isprintable() and name.isascii():
        assert f"{name}: it is dark" in shown
        assert f"{name}\nnext line" in shown


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (1.23456, "1.235"),
        ("a.mp4", "a.mp4"),
        ("it is dark", '"it is dark"'),
        ("a.mp4\nclip=b stage=encode event=finished", '"a.mp4\\nclip=b stage=encode event=finished"'),
        ("a event=finished", '"a event=finished"'),
        ('a" event="finished', '"a\\" event=\\"finished"'),
        ("event=finished", '"event=finished"'),
        ("\x1b[31m", "\\x1b[31m"),
        ("", '""'),
    ],
)
def test_a_value_cannot_start_another_log_line_or_field(value, line):
    assert format_value(value) == line


def test_artifacts_of_prefect_have_escaped_titles_and_links(prefect_server, finished, monkeypatch, tmp_path):
    created = []
    for kind in ("markdown", "table", "image", "link"):
        monkeypatch.setattr(
            f"flows.server.artifacts.create_{kind}_artifact", lambda *values, **named: created.append((values, named))
        )
    artifacts = finished.artifacts
    written_to = finished.output
    show_edit("a|b](x) <img>\n.mp4", artifacts["report"], [artifacts["measure"]], written_to)
    titles = {named["description"] for _, named in created if "description" in named and "key" in named}
    assert titles == {"a\\|b\\](x) \\<img\\>\\\\n.mp4", "File on the machine of the run."}
    link_page(tmp_path / "[a](javascript:x)_report.html", "edit-report")
    (link,), named = created[-1]
    assert named["link_text"] == "\\[a\\](javascript:x)\\_report.html"
    assert link.startswith("file:///")
    assert not set("()[]") & set(link)


def test_a_missing_server_is_logged_without_its_password(finished, monkeypatch, caplog):
    import httpx  # noqa: PLC0415

    def refuse(*_, **__):
        raise httpx.ConnectError("http://anna:hush-hush@host/api is away\nall is well")

    monkeypatch.setattr("flows.server.artifacts.create_markdown_artifact", refuse)
    caplog.set_level(logging.WARNING)
    show_edit("a", finished.artifacts["report"], [finished.artifacts["measure"]], finished.output)
    (record,) = [one for one in caplog.records if "could not be created" in one.getMessage()]
    assert "hush" not in record.getMessage()
    assert "\n" not in record.getMessage()


def test_an_outcome_contains_no_password():
    assert first_line("StorageError: http://anna:hush-hush@host is away") == "StorageError: http://***@host is away"
