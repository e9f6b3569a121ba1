"""Operations that were submitted last, here or in one thread, by our own book alone."""

from collections.abc import Sequence
from dataclasses import dataclass

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.desk.status import last_error
from codex_control_plane_mcp.desk.summary import HistorySummary, Said, Summaries
from codex_control_plane_mcp.desk.texts import start_of
from codex_control_plane_mcp.desk.views import LastError
from codex_control_plane_mcp.errors import InvalidArgument, ThreadNotFound
from codex_control_plane_mcp.model.ids import OperationId, ThreadId
from codex_control_plane_mcp.model.operation import Operation, Status
from codex_control_plane_mcp.model.request import OperationType, TaskRequest
from codex_control_plane_mcp.store import lookup
from codex_control_plane_mcp.store.book import Book, Reading

PAGE = 10
TITLE_CHARS = 80
#: The operations that a thread's summary is made of: what came before is long past.
SUMMED_UP = 50


@dataclass(frozen=True, slots=True)
class RecentOperation:
    operation_id: str
    #: Its own, or how its message begins.
    title: str
    operation_type: OperationType
    status: Status
    project_id: str
    thread_id: str | None
    created_at: Moment
    completed_at: Moment | None
    has_report: bool
    last_error: LastError | None


@dataclass(frozen=True, slots=True)
class OperationPage:
    operations: tuple[RecentOperation, ...]
    #: Null at the end.
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class ThreadView:
    """A thread as far as this control plane worked in it."""

    thread_id: str
    project_id: str
    cwd: str
    source: str
    history_summary: HistorySummary
    #: Newest first.
    operations: tuple[RecentOperation, ...]
    next_cursor: str | None


async def recent(book: Book, cursor: str | None) -> OperationPage:
    """Raises InvalidArgument for a cursor that is none."""
    before = _before(cursor)
    found = await book.read(lambda reading: lookup.newest(reading, PAGE + 1, before=before))
    return _page(found)


async def thread(
    book: Book, summaries: Summaries, thread_id: ThreadId, cursor: str | None
) -> ThreadView:
    """Raises ThreadNotFound for a thread in which nothing was done here."""
    before = _before(cursor)

    def look(reading: Reading) -> tuple[list[Operation], list[Operation]]:
        return (
            lookup.newest(reading, SUMMED_UP, thread_id=thread_id),
            lookup.newest(reading, PAGE + 1, before=before, thread_id=thread_id),
        )

    latest, found = await book.read(look)
    if not latest:
        raise ThreadNotFound(
            f"no operation of this control plane worked in the thread {thread_id}",
            threadId=thread_id,
        )
    page = _page(found)
    return ThreadView(
        thread_id=thread_id,
        project_id=latest[0].request.project_id,
        cwd=latest[0].request.cwd,
        source="tracked_turn",
        history_summary=await summaries.of(_said(latest[::-1])),
        operations=page.operations,
        next_cursor=page.next_cursor,
    )


def _before(cursor: str | None) -> OperationId | None:
    if cursor is None:
        return None
    if not cursor.startswith("op_") or not cursor.isascii():
        raise InvalidArgument("cursor is none that was given out; leave it out", field="cursor")
    return OperationId(cursor)


def _page(found: Sequence[Operation]) -> OperationPage:
    """One more was asked for than is shown, to see whether there is more."""
    shown = tuple(_line(operation) for operation in found[:PAGE])
    return OperationPage(shown, shown[-1].operation_id if len(found) > PAGE else None)


def title_of(request: TaskRequest) -> str:
    """What people call it: its title, or how its message begins."""
    words = str(getattr(request, "title", None) or getattr(request, "message", ""))
    first = " ".join(words.split()) or request.type.value
    return start_of(first, TITLE_CHARS)[0]


def _line(operation: Operation) -> RecentOperation:
    request = operation.request
    return RecentOperation(
        operation_id=operation.id,
        title=title_of(request),
        operation_type=request.type,
        status=operation.status,
        project_id=request.project_id,
        thread_id=operation.thread_id,
        created_at=operation.created_at,
        completed_at=operation.completed_at,
        has_report=operation.report is not None,
        last_error=last_error(operation),
    )


def _said(found: Sequence[Operation]) -> list[Said]:
    """What was asked and reported, oldest first."""
    said: list[Said] = []
    for operation in found:
        if message := getattr(operation.request, "message", ""):
            said.append(Said("user", message))
        if operation.report is not None and operation.report.text:
            said.append(Said("assistant", operation.report.text))
    return said
