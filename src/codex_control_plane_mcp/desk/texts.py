"""What counts as text: what callers may hand in, and how it is cut to be shown."""

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
