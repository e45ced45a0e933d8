"""Text for a terminal, without markup, control characters and secrets."""

from rich.markup import escape as without_markup

from storage.safe_text import printable, redacted


def escape(text: object) -> str:
    """Escape `text` for rich, keeping its line breaks."""
    return without_markup(plain(text))


def plain(text: object) -> str:
    """Escape `text` for `print`, keeping its line breaks."""
    return "\n".join(map(printable, redacted(str(text)).split("\n")))
