"""What goes with a message: `input_items`, checked before a task is taken in.

Texts become part of the message, each a paragraph behind it; pictures become attachments. Functions
that look at the disk block, so the desk runs them in a thread.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from stat import S_ISREG
from typing import TypeAlias
from urllib.parse import urlsplit

from codex_control_plane_mcp.desk.projects import MAX_PATH_CHARS
from codex_control_plane_mcp.desk.texts import plain
from codex_control_plane_mcp.errors import InvalidArgument
from codex_control_plane_mcp.model.policy import is_within
from codex_control_plane_mcp.model.request import Attachment, LocalImage, RemoteImage

MAX_IMAGES = 10
MAX_IMAGE_BYTES = 20_000_000
#: Signed addresses are long.
MAX_URL_CHARS = 8_192

_FIELD = "input_items"
_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".webp")
#: How the content of such a file begins. Codex goes by that, whatever the file is called.
_BEGINNINGS: tuple[Callable[[bytes], bool], ...] = (
    lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"),
    lambda head: head.startswith(b"\xff\xd8\xff"),
    lambda head: head.startswith((b"GIF87a", b"GIF89a")),
    lambda head: head.startswith(b"RIFF") and head[8:] == b"WEBP",
)
_HEAD_BYTES = 12


@dataclass(frozen=True, slots=True)
class Words:
    """More text for the message."""

    text: str


InputItem: TypeAlias = Words | Attachment


def joined(message: str, items: Sequence[InputItem]) -> str:
    """The message with the texts among the items."""
    texts = [item.text for item in items if isinstance(item, Words)]
    return "\n\n".join(text for text in (message, *texts) if text)


def pictures(items: Sequence[InputItem], cwd: str) -> tuple[Attachment, ...]:
    """The pictures among the items, each by its real path or its address; a relative path is below
    `cwd`. Raises InvalidArgument."""
    found = [_named(item, cwd) for item in items if not isinstance(item, Words)]
    if len(found) > MAX_IMAGES:
        raise _wrong(f"{len(found)} pictures are too many: at most {MAX_IMAGES} are taken")
    return tuple(found)


def look_at(attachments: Sequence[Attachment], roots: Sequence[Path]) -> None:
    """Make sure that those on this machine are pictures, and lie where Codex may look.

    Raises InvalidArgument; about a path outside the roots it says nothing else.
    """
    for picture in attachments:
        if isinstance(picture, LocalImage):
            _look_at(Path(picture.path), roots)


def _named(picture: Attachment, cwd: str) -> Attachment:
    match picture:
        case LocalImage(path=path):
            plain(f"{_FIELD}: path", path, MAX_PATH_CHARS)
            expanded = os.path.expanduser(path)  # noqa: PTH111  # the other one raises
            return replace(picture, path=os.path.realpath(Path(cwd) / expanded))
        case RemoteImage(url=url):
            _check_url(url)
            return picture


def _check_url(url: str) -> None:
    plain(f"{_FIELD}: url", url, MAX_URL_CHARS)
    try:
        parts = urlsplit(url)
        is_https = parts.scheme == "https" and bool(parts.hostname)
    except ValueError:
        is_https = False
    if not is_https or not url.isprintable() or " " in url:
        raise _wrong(
            "a url must be https: and nothing else; a picture on this machine is a local_image "
            "with its path"
        )


def _look_at(path: Path, roots: Sequence[Path]) -> None:
    if not is_within(path, roots):
        raise _wrong(f"{path.name} leads outside the allowed folders (CODEX_ALLOWED_ROOTS)")
    if path.suffix.lower() not in _SUFFIXES:
        raise _wrong(f"{path} is none of {', '.join(_SUFFIXES)}")
    try:
        about = path.stat()
        if not S_ISREG(about.st_mode):
            raise _wrong(f"{path} is not a file")
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise _wrong(f"{path} cannot be read: {error.strerror}") from error
    if about.st_size > MAX_IMAGE_BYTES:
        raise _wrong(
            f"{path} has {about.st_size} bytes, and at most {MAX_IMAGE_BYTES} are taken: make the "
            "picture smaller"
        )
    if not any(fits(head) for fits in _BEGINNINGS):
        raise _wrong(f"{path} is not a picture: its content is not PNG, JPEG, GIF or WebP")


def _wrong(what: str) -> InvalidArgument:
    return InvalidArgument(f"{_FIELD}: {what}", field=_FIELD)
