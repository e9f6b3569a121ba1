"""Ends an operation on somebody's wish. What has ended already is reported, not an error."""

from dataclasses import dataclass
from typing import TypeAlias

from codex_control_plane_mcp.desk import views
from codex_control_plane_mcp.desk.status import found, last_error, next_action
from codex_control_plane_mcp.desk.wait import until
from codex_control_plane_mcp.desk.workflows.standing import found as workflow_found
from codex_control_plane_mcp.errors import TurnNotFound
from codex_control_plane_mcp.model.ids import OperationId, ThreadId, TurnId, WorkflowId
from codex_control_plane_mcp.model.operation import FINAL, Operation, Status
from codex_control_plane_mcp.store import lookup, operations, wishes, workflows
from codex_control_plane_mcp.store.book import Book, Reading, Writing

#: Codex ends a turn within a second or two; a caller is kept this long at most.
END_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn by Codex's own names."""

    thread_id: ThreadId
    turn_id: TurnId


@dataclass(frozen=True, slots=True)
class Whole:
    """Whatever of a workflow has not ended."""

    workflow_id: WorkflowId


Target: TypeAlias = OperationId | Turn | Whole


async def end(book: Book, target: Target, by: str) -> views.InterruptReceipt:
    """Raises OperationNotFound, TurnNotFound or WorkflowNotFound."""

    def wish(writing: Writing) -> Operation:
        meant = operations.held(writing, [one.id for one in _meant(writing.connection, target)])
        unfinished = [operation for operation in meant if not operation.is_final]
        for operation in unfinished:
            wishes.wish_cancel(writing, operation.id, by)
        return unfinished[0] if unfinished else meant[-1]

    before = await book.write(wish)
    if before.is_final:
        return _receipt(before, changed=False)
    await until(book, [before.id], END_SECONDS, lambda now: now[before.id].status in FINAL)
    after = await book.read(lambda reading: found(reading, before.id))
    # A turn that reached its own end first was not changed by us.
    return _receipt(after, changed=after.status not in (Status.COMPLETED, Status.FAILED))


def _meant(reading: Reading, target: Target) -> list[Operation]:
    if isinstance(target, Whole):
        return workflows.operations_of(reading, workflow_found(reading, target.workflow_id))
    if not isinstance(target, Turn):
        return [found(reading, target)]
    operation = lookup.by_turn(reading, target.thread_id, target.turn_id)
    if operation is None:
        raise TurnNotFound(
            "no operation of this control plane runs that turn; give the operation_id, or the "
            "threadId and turnId that codex_get_operation_status shows",
            threadId=target.thread_id,
            turnId=target.turn_id,
        )
    return [operation]


def _receipt(operation: Operation, *, changed: bool) -> views.InterruptReceipt:
    return views.InterruptReceipt(
        operation_id=operation.id,
        thread_id=operation.thread_id,
        turn_id=operation.turn_id,
        status=operation.status,
        changed=changed,
        ended=operation.is_final,
        last_error=last_error(operation),
        next_recommended_action=next_action(operation.status, is_asked=False),
    )
