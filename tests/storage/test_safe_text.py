"""Text from files and servers is shown without control characters and secrets."""

import pytest

from storage.safe_text import printable, redacted

KEY = "wJalrXUtnFEMI/K7MDENG"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a.mp4", "a.mp4"),
        ("Фильм 映画 👨‍👩‍👧 – é.mp4", "Фильм 映画 👨‍👩‍👧 – é.mp4"),
        ("\x1b[2J\x1b]0;owned\x07.mp4", "\\x1b[2J\\x1b]0;owned\\x07.mp4"),
        ("a\nclip=b event=finished\r", "a\\nclip=b event=finished\\r"),
        ("\x9b31m\x7f", "\\x9b31m\\x7f"),
        ("gpj.\u202e4pm", "gpj.\\u202e4pm"),
        ("a\u2028b\ufeff", "a\\u2028b\\ufeff"),
        ("caf\udce9 \ud800", "caf\\xe9 \\ud800"),
    ],
)
def test_control_characters_are_escaped(text, shown):
    assert printable(text) == shown
    assert printable(text).encode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://anna:pass@host/api failed", "http://***@host/api failed"),
        ("s3://AKIA:secret@bucket/prefix", "s3://***@bucket/prefix"),
        ("https://token@host", "https://***@host"),
        ("https://h/x.mp4?X-Amz-Signature=ab12&n=1", "https://h/x.mp4?X-Amz-Signature=***&n=1"),
        ("https://h/x?a=1&token=ab%2012 is gone", "https://h/x?a=1&token=*** is gone"),
        (f"the key {KEY} is wrong", "the key *** is wrong"),
        ("s3://bucket/anna@home.mp4 and https://h/@anna", "s3://bucket/anna@home.mp4 and https://h/@anna"),
        ("key=1 short", "key=1 short"),
    ],
)
def test_secrets_in_urls_and_of_the_environment_are_redacted(text, shown):
    environment = {"AWS_SECRET_ACCESS_KEY": KEY, "MY_TOKEN": "short", "HOME": "bucket/anna"}
    assert redacted(text, environment) == shown
