"""Chats in the files of an older history: read-only, and the last place to look.

`PROJECT/threads/THREAD/*.json` below a root that the person named: one file a turn, in the order of
their names. Other programs wrote them, so nothing in them is relied on; what cannot be read is said
to be there. These functions block.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.desk.cursors import bad_cursor
from codex_control_plane_mcp.model.ids import ThreadId, TurnId
from codex_control_plane_mcp.model.transcript import Entry, Leaf, Role

#: No turn of a person's chat is longer; a larger file is something else.
MAX_FILE_BYTES: Final = 20_000_000

_ROLES: Final[Mapping[object, Role]] = {
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
    "agent": Role.ASSISTANT,
    "plan": Role.PLAN,
    "system": Role.NOTICE,
    "tool": Role.TOOL,
    "reasoning": Role.REASONING,
}
_TIMES: Final = ("captured_at_utc", "created_at_utc", "created_at", "timestamp")


@dataclass(frozen=True, slots=True)
class OldChat:
    thread_id: ThreadId
    #: One for each turn, in their order.
    files: tuple[Path, ...]
    #: Where it worked; None where no file says so.
    cwd: str | None
    updated_at: Moment

    def leaf(self, anchor: str | None, *, back: bool) -> Leaf:
        names = [file.name for file in self.files]
        if anchor is None:
            index = len(names) - 1 if back else 0
        elif anchor in names:
            index = names.index(anchor)
        else:
            raise bad_cursor()
        entries = tuple(_entries(self.files[index]))
        beyond = index - 1 if back else index + 1
        return Leaf(
            entries,
            names[index],
            names[beyond] if 0 <= beyond < len(names) else None,
            shared=len(entries),
        )


def find(root: Path | None, thread_id: ThreadId) -> OldChat | None:
    """The chat in the files below `root`, if it is there."""
    if root is None or not re.fullmatch(r"\w[\w.-]{0,199}", thread_id):
        return None  # it becomes part of a path
    for folder in (
        *root.glob(f"*/threads/{thread_id}"),
        *root.glob(f"projects/*/threads/{thread_id}"),
    ):
        files = tuple(sorted(path for path in folder.glob("*.json") if path.is_file()))
        if files:
            touched = max(file.stat().st_mtime for file in files)
            cwd = next(filter(None, map(_cwd, reversed(files))), None)
            return OldChat(thread_id, files, cwd, Moment(int(touched * 1000)))
    return None


def _cwd(file: Path) -> str | None:
    match _read(file):
        case {"project": {"cwd": str(cwd)}} | {"cwd": str(cwd)} if Path(cwd).is_absolute():
            return cwd
        case _:
            return None


def _entries(file: Path) -> Iterator[Entry]:
    turn = _read(file)
    match turn:
        case {"messages": list(messages)} | list(messages):
            pass
        case _:
            yield Entry(
                file.name, None, Role.NOTICE, f"A part of this chat cannot be read: {file.name}"
            )
            return
    match turn:
        case {"ids": {"turn_id": str(turn_id)}} | {"turn_id": str(turn_id)}:
            pass
        case _:
            turn_id = file.stem
    told = [message for message in messages if isinstance(message, dict)]
    for number, message in enumerate(sorted(told, key=_order)):
        id_ = message.get("message_id")
        yield Entry(
            id_ if isinstance(id_, str) else f"{file.name}.{number}",
            TurnId(turn_id),
            _ROLES.get(message.get("role"), Role.TOOL),
            _text(message.get("text") or message.get("content")),
            _at(message),
        )


def _read(file: Path) -> Any:
    """What a file holds; None for what cannot be read."""
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            return None
        return json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return None


def _order(message: Mapping[str, object]) -> tuple[int, int]:
    sequence = message.get("sequence")
    return (_at(message) or 0, sequence if isinstance(sequence, int) else 0)


def _text(content: object) -> str:
    """A text, or the texts of the parts that it comes in."""
    match content:
        case str():
            return content
        case {"text": str(text)}:
            return text
        case list():
            return "\n".join(filter(None, map(_text, content)))
        case _:
            return ""


def _at(message: Mapping[str, object]) -> Moment | None:
    for name in _TIMES:
        try:
            at = datetime.fromisoformat(str(message[name]))
        except (KeyError, ValueError):
            continue
        return Moment(int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000))
    return None
