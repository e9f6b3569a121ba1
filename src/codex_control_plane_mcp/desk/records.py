"""What chats are read from: Codex itself; where it cannot be asked, our own book; and where that
knows nothing, the files of an older history."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeVar

import anyio

from codex_control_plane_mcp.codex import errors as codex_errors
from codex_control_plane_mcp.desk.cursors import bad_cursor
from codex_control_plane_mcp.desk.old_history import OldChat
from codex_control_plane_mcp.desk.runtime import Library
from codex_control_plane_mcp.errors import AppServerUnavailable
from codex_control_plane_mcp.model.ids import OperationId, ThreadId
from codex_control_plane_mcp.model.journal import Category, Written
from codex_control_plane_mcp.model.operation import Operation
from codex_control_plane_mcp.model.request import (
    ArchiveThread,
    CompactThread,
    SteerTurn,
    UnarchiveThread,
)
from codex_control_plane_mcp.model.transcript import Entry, Leaf, Role
from codex_control_plane_mcp.store import chats, journal, operations
from codex_control_plane_mcp.store.book import Book, Reading

T = TypeVar("T")

#: Codex answers in milliseconds. Whoever only reads gets less patience than who works.
ASK_SECONDS: Final = 5.0

#: The names of the sources, as the public contract has them.
APP_SERVER: Final = "app_server"
TRACKED_TURN: Final = "tracked_turn"
KB_HISTORY: Final = "kb_history"


class OffLoop(Protocol):
    """Runs what blocks without stopping anybody else."""

    def __call__(self, call: Callable[[], T], /) -> Awaitable[T]: ...


class NoWord(Exception):
    """Codex cannot be asked, or says nothing about this."""


class NotThere(NoWord):
    """Codex has no such thread."""


async def asked(call: Callable[[], Awaitable[T]]) -> T:
    """What Codex says. Raises NoWord."""
    try:
        with anyio.fail_after(ASK_SECONDS):
            return await call()
    except codex_errors.ThreadNotFound as error:
        raise NotThere(str(error)) from error
    except (codex_errors.CodexError, TimeoutError) as error:
        raise NoWord(str(error)) from error


class CodexRecord:
    """A chat as Codex has stored it."""

    source = APP_SERVER

    def __init__(self, library: Library, thread_id: ThreadId) -> None:
        self._library = library
        self._thread_id = thread_id

    async def leaf(self, anchor: str | None, *, back: bool) -> Leaf:
        """Raises NoWord while nothing has been read; later what a caller can act on."""
        try:
            return await asked(lambda: self._library.leaf(self._thread_id, anchor, back=back))
        except NoWord as error:
            if anchor is None:
                raise
            if isinstance(error.__cause__, codex_errors.Refused):
                raise bad_cursor() from error
            raise AppServerUnavailable(
                "Codex stopped answering in the middle of this chat; try again, or leave cursor "
                "out to begin with what is known without it"
            ) from error


class OldRecord:
    """A chat in the files of an older history. Each turn is a leaf."""

    source = KB_HISTORY

    def __init__(self, chat: OldChat, off_loop: OffLoop) -> None:
        self._chat = chat
        self._off_loop = off_loop

    async def leaf(self, anchor: str | None, *, back: bool) -> Leaf:
        return await self._off_loop(lambda: self._chat.leaf(anchor, back=back))


class BookRecord:
    """A chat as far as it was ours: what was asked, and what the journal has of the answers. Each
    operation is a leaf."""

    source = TRACKED_TURN

    def __init__(self, book: Book, thread_id: ThreadId) -> None:
        self._book = book
        self._thread_id = thread_id

    async def leaf(self, anchor: str | None, *, back: bool) -> Leaf:
        def look(reading: Reading) -> Leaf:
            if anchor is None:
                found = chats.operation_in_thread(reading, self._thread_id, None, back=back)
            else:
                found = operations.get(reading, OperationId(anchor))
                if found is None or found.thread_id != self._thread_id:
                    raise bad_cursor()
            if found is None:
                return Leaf((), None, None)
            place = (found.created_at, found.id)
            beyond = chats.operation_in_thread(reading, self._thread_id, place, back=back)
            entries = _entries(reading, found)
            next_one = None if beyond is None else beyond.id
            return Leaf(entries, found.id, next_one, shared=len(entries))

        return await self._book.read(look)


_ROLES: Final = {
    Category.ASSISTANT: Role.ASSISTANT,
    Category.PLAN: Role.PLAN,
    Category.REASONING: Role.REASONING,
    Category.COMMAND: Role.TOOL,
    Category.FILE_CHANGE: Role.TOOL,
    Category.TOOL: Role.TOOL,
}


def _entries(reading: Reading, operation: Operation) -> Sequence[Entry]:
    request, report = operation.request, operation.report
    if isinstance(request, ArchiveThread | UnarchiveThread):
        return ()
    asked_for = Entry(
        operation.id,
        operation.turn_id,
        Role.NOTICE if isinstance(request, CompactThread) else Role.USER,
        request.message,
        operation.created_at,
        len(getattr(request, "attachments", ())),
    )
    if isinstance(request, SteerTurn):
        return (asked_for,)
    written = journal.chronicle(reading, operation.id, tuple(_ROLES))
    said = [_told(operation, parts) for parts in _by_item(written)]
    if report is not None and report.turn_id and all(one.text != report.text for one in said):
        # The journal may be gone by now; what a turn came to is kept.
        said.append(
            Entry(
                f"{operation.id}.report",
                report.turn_id,
                Role.ASSISTANT,
                report.text,
                operation.completed_at,
            )
        )
    return (asked_for, *said)


def _by_item(written: Sequence[Written]) -> list[list[Written]]:
    """The journal's entries, those of one item together, each item where it began."""
    items: dict[str, list[Written]] = {}
    for one in written:
        items.setdefault(one.item_id or str(one.seq), []).append(one)
    return list(items.values())


def _told(operation: Operation, parts: Sequence[Written]) -> Entry:
    first = parts[0]
    role = _ROLES[first.category]
    # A text is written piece by piece; lines about a command are lines.
    between = "" if role in (Role.ASSISTANT, Role.PLAN) else "\n"
    return Entry(
        first.item_id or f"{operation.id}.{first.seq}",
        operation.turn_id,
        role,
        between.join(part.text for part in parts),
        parts[-1].at,
    )
