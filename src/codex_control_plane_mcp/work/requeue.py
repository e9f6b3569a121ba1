"""A person gives up what a lost host has in hand, and has it done anew elsewhere.

The former attempt ends, and an end is never changed: whatever its host still writes, if it comes
back, is refused. So there is no moment at which both count.
"""

from codex_control_plane_mcp.errors import AppServerUnavailable, InvalidArgument, OperationNotFound
from codex_control_plane_mcp.model.ids import HERE, OperationId, new_operation_id
from codex_control_plane_mcp.model.journal import Category, Entry
from codex_control_plane_mcp.model.operation import ACTIVE, Failed, Lost, Operation, Status, Trouble
from codex_control_plane_mcp.model.request import Priority, StartChat, Submission
from codex_control_plane_mcp.store import hosts, operations
from codex_control_plane_mcp.store.book import Book, Writing
from codex_control_plane_mcp.work.case import Case


async def requeue(book: Book, operation_id: OperationId, by: str) -> Operation:
    """Returns the new attempt, which waits in the queue.

    Raises OperationNotFound or InvalidArgument.
    """

    def write(writing: Writing) -> Operation:
        former = operations.get(writing.connection, operation_id)
        if former is None:
            raise OperationNotFound(f"there is no operation {operation_id}")
        _check(writing, former)
        id_ = new_operation_id(writing.now)
        why = f"{by} gave it up, for its host {former.host} is gone; {id_} takes its place"
        trouble = Trouble(AppServerUnavailable.code, why)
        is_begun = former.status is not Status.STARTING_THREAD
        end = Lost(trouble) if is_begun else Failed(trouble)
        Case(former, book).close_everything(writing, end)
        operations.record(writing, former, end)
        submission = Submission(
            former.request,
            agent_id=former.agent_id,
            priority=Priority(former.priority),
            resource_keys=former.resource_keys,
        )
        anew = operations.insert_operation(writing, id_, submission)
        note = Entry(Category.NOTICE, f"Takes the place of {former.id}.")
        return operations.record(writing, anew, entries=[note])

    return await book.write(write)


def _check(writing: Writing, operation: Operation) -> None:
    """Raises InvalidArgument for what is not to be done anew."""
    if operation.status not in ACTIVE:
        raise InvalidArgument(
            f"{operation.id} is {operation.status}: only what a host has in hand is requeued; what "
            "is queued moves by itself, and what has ended is submitted again"
        )
    if operation.host == HERE or operation.host in hosts.present(writing.connection):
        raise InvalidArgument(
            f"the host of {operation.id} is connected; interrupt the task instead, and submit it "
            "again"
        )
    if not isinstance(operation.request, StartChat) or operation.workflow_id is not None:
        raise InvalidArgument(
            f"{operation.id} goes on with what lives on {operation.host}, and no other host has "
            "that; bring the host back, or start a new chat"
        )
