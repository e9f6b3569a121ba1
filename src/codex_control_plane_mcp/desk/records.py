"""What chats are read from: Codex itself; where it cannot be asked, our own book, with what hooks
told; and where that knows nothing, the files of an older history."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeAlias, TypeVar

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
from codex_control_plane_mcp.store import chats, hook_history, journal, lookup
from codex_control_plane_mcp.store.book import Book, Reading
from codex_control_plane_mcp.store.hook_history import HookKind, Kept

T = TypeVar("T")

#: Codex answers in milliseconds. Whoever only reads gets less patience than who works.
ASK_SECONDS: Final = 5.0

#: The names of the sources, as the public contract has them.
APP_SERVER: Final = "app_server"
TRACKED_TURN: Final = "tracked_turn"
HOOK_HISTORY: Final = "hook_history"
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
    """A chat as far as it was ours: what was asked, and what the journal has of the answers; and
    between, what hooks told of other people's turns. Each operation is a leaf, and each event."""

    source = TRACKED_TURN

    def __init__(self, book: Book, thread_id: ThreadId) -> None:
        self._book = book
        self._thread_id = thread_id

    async def leaf(self, anchor: str | None, *, back: bool) -> Leaf:
        def look(reading: Reading) -> Leaf:
            found = (
                _next(reading, self._thread_id, None, back=back)
                if anchor is None
                else _at(reading, self._thread_id, anchor)
            )
            if found is None:
                return Leaf((), None, None)
            beyond = _next(reading, self._thread_id, found, back=back)
            entries = _entries(reading, found)
            return Leaf(
                entries,
                _anchor(found),
                None if beyond is None else _anchor(beyond),
                shared=len(entries),
            )

        return await self._book.read(look)


#: What a chat is made of in the book.
_Told: TypeAlias = Operation | Kept
#: Before all names of operations, behind them, and before all numbers of events.
_BEFORE_IDS: Final = OperationId("")
_BEHIND_IDS: Final = OperationId("~")
_BEFORE_SEQS: Final = -1
_HOOK: Final = "hook."


def _anchor(told: _Told) -> str:
    return f"{_HOOK}{told.seq}" if isinstance(told, Kept) else told.id


def _at(reading: Reading, thread_id: ThreadId, anchor: str) -> _Told:
    """What an anchor names. Raises InvalidArgument."""
    seq = anchor.removeprefix(_HOOK)
    found: _Told | None
    if seq != anchor:
        found = hook_history.at_seq(reading, int(seq)) if seq.isdecimal() else None
        known = None if found is None else found.event.thread_id
    else:
        found = lookup.get(reading, OperationId(anchor))
        known = None if found is None else found.thread_id
    if found is None or known != thread_id:
        raise bad_cursor()
    return found


def _next(
    reading: Reading, thread_id: ThreadId, beside: _Told | None, *, back: bool
) -> _Told | None:
    """What comes next in a thread. Of the same moment, operations come before events."""
    id_place: chats.Place | None = None
    seq_place: hook_history.Place | None = None
    if isinstance(beside, Kept):
        at = beside.event.at
        id_place, seq_place = (at, _BEHIND_IDS), (at, beside.seq)
    elif beside is not None:
        at = beside.created_at
        id_place, seq_place = (at, beside.id), (at, _BEFORE_SEQS)
    operation = chats.operation_in_thread(reading, thread_id, id_place, back=back)
    event = hook_history.in_thread(reading, thread_id, seq_place, back=back)
    if operation is None or event is None:
        return operation or event
    is_before = operation.created_at <= event.event.at
    return operation if is_before is not back else event


_ROLES: Final = {
    Category.ASSISTANT: Role.ASSISTANT,
    Category.PLAN: Role.PLAN,
    Category.REASONING: Role.REASONING,
    Category.COMMAND: Role.TOOL,
    Category.FILE_CHANGE: Role.TOOL,
    Category.TOOL: Role.TOOL,
}


def _entries(reading: Reading, told: _Told) -> Sequence[Entry]:
    if isinstance(told, Kept):
        event = told.event
        role = Role.USER if event.kind is HookKind.PROMPT else Role.ASSISTANT
        return (Entry(event.event_id, event.turn_id, role, event.text, event.at),)
    return _entries_of(reading, told)


def _entries_of(reading: Reading, operation: Operation) -> Sequence[Entry]:
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
    said = [_spoken(operation, parts) for parts in _by_item(written)]
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


def _spoken(operation: Operation, parts: Sequence[Written]) -> Entry:
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
