"""Resource keys as callers may write them, and as they are compared."""

import unicodedata
from collections.abc import Sequence

from codex_control_plane_mcp.desk.texts import unwritable
from codex_control_plane_mcp.errors import InvalidArgument

MAX_KEYS = 32
MAX_KEY_CHARS = 200


def resource_keys(given: Sequence[str]) -> tuple[str, ...]:
    """Paths within a project in the one form in which they are compared: each once, in order, with
    `/` between and none at the end; "" for the whole project.

    Raises InvalidArgument for what is no such path.
    """
    if len(given) > MAX_KEYS:
        raise _refused(f"there are {len(given)}, and at most {MAX_KEYS} are taken")
    return tuple(sorted({_normalised(key) for key in given}))


def _normalised(key: str) -> str:
    if len(key) > MAX_KEY_CHARS:
        raise _refused(f"one has {len(key)} characters, and at most {MAX_KEY_CHARS} are taken")
    if problem := unwritable(key):
        raise _refused(f"they {problem}")
    if key in ("", "/"):
        return ""
    segments = unicodedata.normalize("NFC", key).removesuffix("/").split("/")
    if not segments[0] or ":" in segments[0]:
        raise _refused(f"{key!r} is absolute; give a path within the project")
    if "\\" in key:
        raise _refused(f"{key!r} has a backslash; write / between folders")
    if "" in segments or ".." in segments:
        raise _refused(f"{key!r} has an empty part or `..`; give a plain path within the project")
    return "/".join(part for part in segments if part != ".")


def _refused(why: str) -> InvalidArgument:
    return InvalidArgument(f"resource_keys: {why}", field="resource_keys")
