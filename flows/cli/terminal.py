"""Text of users on a terminal: as it is, without markup, control characters and secrets."""

from rich.markup import escape as without_markup

from storage.safe_text import printable, redacted


def escape(text: object) -> str:
    """`text` as part of what rich prints; its line breaks stay."""
    return without_markup(plain(text))


def plain(text: object) -> str:
    """`text` for `print`; its line breaks stay."""
    return "\n".join(map(printable, redacted(str(text)).split("\n")))
