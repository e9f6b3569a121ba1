"""What counts as text: what callers may hand in, and how it is cut to be shown."""

import json
from bisect import bisect_right

from codex_control_plane_mcp.errors import InvalidArgument


def plain(name: str, text: str, limit: int) -> str:
    """`text`, if it has something to say, fits, and can be written down anywhere.

    Raises InvalidArgument naming `name`.
    """
    if not text.strip():
        raise InvalidArgument(f"{name} must not be empty", field=name)
    if len(text) > limit:
        raise InvalidArgument(
            f"{name} has {len(text)} characters, and at most {limit} are taken", field=name
        )
    if problem := unwritable(text):
        raise InvalidArgument(f"{name} {problem}", field=name)
    return text


def unwritable(text: str) -> str | None:
    """Why `text` cannot be stored or sent to the letter, if so."""
    if "\0" in text:
        return "must not contain NUL characters"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "must not contain lone surrogates: it is not valid Unicode"
    return None


def start_of(text: str, limit: int) -> tuple[str, bool]:
    """The beginning of `text`, and whether something was cut off."""
    return (text, False) if len(text) <= limit else (text[: limit - 1] + "…", True)


def end_of(text: str, limit: int) -> tuple[str, bool]:
    """The end of `text`, and whether something was cut off."""
    return (text, False) if len(text) <= limit else ("…" + text[len(text) - limit + 1 :], True)


def weight(text: str) -> int:
    """The characters that `text` takes in an answer, which is JSON."""
    return len(json.dumps(text, ensure_ascii=False))


def longest_start(text: str, limit: int) -> str:
    """The longest beginning of `text` that weighs at most `limit`."""
    text = text[: max(0, limit)]
    end = bisect_right(range(len(text) + 1), limit, key=lambda n: weight(text[:n]))
    return text[: max(0, end - 1)]


def beginning(text: str, limit: int) -> str:
    """The beginning of `text` that weighs about `limit`, with a sign where it was cut."""
    return text if weight(text) <= limit else longest_start(text, limit) + "…"


def longest_end(text: str, limit: int) -> str:
    """The longest end of `text` that weighs at most `limit`."""
    text = text[max(0, len(text) - max(0, limit)) :]
    length = bisect_right(range(len(text) + 1), limit, key=lambda n: weight(text[len(text) - n :]))
    return text[len(text) - max(0, length - 1) :]
