"""The command line, called in this process."""

import sys

import pytest

from flows.cli import main as cli


@pytest.fixture
def stitchedit(monkeypatch, capfd):
    """`stitchedit(*arguments)` returns exit code, standard output and standard error, the latter on one line."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["stitchedit", *map(str, arguments)])
        capfd.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        out, err = capfd.readouterr()
        return code, out, " ".join(err.split())

    return call
