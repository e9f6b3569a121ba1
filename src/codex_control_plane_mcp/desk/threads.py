"""Things to be done with a thread as a whole: put it away, bring it back, compact it.

Each is an operation like any other. The same one asked for again meanwhile is that one.
"""

from typing import TypeAlias

from codex_control_plane_mcp.desk import views
from codex_control_plane_mcp.desk.projects import Place
from codex_control_plane_mcp.desk.status import (
    found,
    last_error,
    next_action,
    not_found,
    poll_after,
)
from codex_control_plane_mcp.desk.submit import MAX_NAME_CHARS, enter
from codex_control_plane_mcp.desk.texts import plain
from codex_control_plane_mcp.desk.wait import reached
from codex_control_plane_mcp.errors import DuplicatePromptActive
from codex_control_plane_mcp.model.ids import OperationId, ThreadId
from codex_control_plane_mcp.model.operation import FINAL, Operation
from codex_control_plane_mcp.model.request import (
    ArchiveThread,
    CompactThread,
    Submission,
    UnarchiveThread,
)
from codex_control_plane_mcp.store.book import Book, Writing

Action: TypeAlias = type[ArchiveThread] | type[UnarchiveThread] | type[CompactThread]

#: Filing a thread takes Codex a moment; a caller is kept this long at most.
FILED_SECONDS = 10.0


def check_thread(thread_id: str) -> None:
    """Raises InvalidArgument for what cannot be a thread's id."""
    plain("thread_id", thread_id, MAX_NAME_CHARS)


async def carry_out(
    book: Book, action: Action, thread_id: ThreadId, home: Place
) -> views.ActionView:
    """Have it done. A compaction takes the model's time, so only its receipt is waited for."""
    wanted = Submission(action(thread_id, home.cwd, home.project_id))

    def store(writing: Writing) -> tuple[OperationId, bool]:
        try:
            return enter(writing, wanted).operation.id, False
        except DuplicatePromptActive as error:
            return OperationId(str(error.details["existingOperationId"])), True

    operation_id, idempotent = await book.write(store)
    if action is not CompactThread:
        await reached(book, operation_id, FINAL, FILED_SECONDS)
    operation = await book.read(lambda reading: found(reading, operation_id))
    return _view(operation, idempotent=idempotent or None)


async def action_status(
    book: Book, action_id: OperationId, wait_seconds: float
) -> views.ActionView:
    """Raises OperationNotFound, also for an operation that is no compaction."""
    operation = await book.read(lambda reading: found(reading, action_id))
    if not isinstance(operation.request, CompactThread):
        raise not_found([action_id])
    if wait_seconds > 0:
        await reached(book, action_id, FINAL, wait_seconds)
        operation = await book.read(lambda reading: found(reading, action_id))
    return _view(operation)


def _view(operation: Operation, *, idempotent: bool | None = None) -> views.ActionView:
    report = operation.report
    poll = poll_after(operation.status)
    return views.ActionView(
        action_id=operation.id,
        operation_id=operation.id,
        operation_type=operation.request.type,
        thread_id=operation.thread_id,
        status=operation.status,
        created_at=operation.created_at,
        completed_at=operation.completed_at,
        idempotent=idempotent,
        result=None if report is None else report.text,
        last_error=last_error(operation),
        next_recommended_action=next_action(operation.status, is_asked=False),
        poll_recommended=poll is not None,
        recommended_poll_after_seconds=poll,
    )
