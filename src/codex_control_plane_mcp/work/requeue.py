"""What a lost host has in hand is given up, by a person or by a rule, and done anew elsewhere.

The former attempt ends, and an end is never changed: whatever its host still writes, if it comes
back, is refused. So there is no moment at which both count.
"""

import logging

import anyio

from codex_control_plane_mcp.errors import AppServerUnavailable, InvalidArgument, OperationNotFound
from codex_control_plane_mcp.model.ids import HERE, HostId, OperationId, new_operation_id
from codex_control_plane_mcp.model.journal import Category, Entry
from codex_control_plane_mcp.model.operation import ACTIVE, Failed, Lost, Operation, Status, Trouble
from codex_control_plane_mcp.model.request import Placement, Priority, StartChat, Submission
from codex_control_plane_mcp.store import hosts, journal, lookup, operations, queue
from codex_control_plane_mcp.store.book import Book, Reading, Writing
from codex_control_plane_mcp.work.case import Case

logger = logging.getLogger(__name__)

#: A host that is seen less often than this is not seen to be away all the while.
GAP_SECONDS = 60.0
#: The journal of a new attempt begins with this.
_TAKES_ITS_PLACE = "Takes the place of"


async def requeue(book: Book, operation_id: OperationId, by: str) -> Operation:
    """Returns the new attempt, which waits in the queue.

    Raises OperationNotFound or InvalidArgument.
    """

    def write(writing: Writing) -> Operation:
        found = operations.held(writing, [operation_id])
        if not found:
            raise OperationNotFound(f"there is no operation {operation_id}")
        (former,) = found
        _check(writing, former)
        id_ = new_operation_id(writing.now)
        why = f"{by} gave it up, for its host {former.host} is gone; {id_} takes its place"
        give_up(writing, book, former, why)
        submission = Submission(
            former.request,
            agent_id=former.agent_id,
            priority=Priority(former.priority),
            resource_keys=former.resource_keys,
            placement=Placement(labels=former.host_labels),
        )
        anew = operations.insert_operation(writing, id_, submission)
        note = Entry(Category.NOTICE, f"{_TAKES_ITS_PLACE} {former.id}.")
        return operations.record(writing, anew, entries=[note])

    return await book.write(write)


def give_up(writing: Writing, book: Book, operation: Operation, why: str) -> None:
    """End what a host has in hand, or what waits for it: it will not."""
    trouble = Trouble(AppServerUnavailable.code, why)
    is_begun = operation.status in ACTIVE - {Status.STARTING_THREAD}
    end = Lost(trouble) if is_begun else Failed(trouble)
    operations.record(writing, operation, end)
    Case(operation, book).close_everything(writing, end)


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
    if not _runs_anywhere(operation):
        raise InvalidArgument(
            f"{operation.id} goes on with what lives on {operation.host}, and no other host has "
            "that; bring the host back, or start a new chat"
        )


class Patience:
    """The rule for hosts that are gone: after so long what they have in hand is requeued.

    Each host that is there looks for itself, and counts from when it saw the other away, so no
    clocks need to agree. Whoever is first does it. A new attempt is not requeued once more: what
    takes its hosts along shall not go through the fleet. What goes on with a thread or a workflow
    of the lost host stays, for a person.
    """

    def __init__(self, book: Book, seconds: float) -> None:
        self._book = book
        self._seconds = seconds
        self._away_since: dict[HostId, float] = {}
        self._looked_at = anyio.current_time()

    async def look(self) -> list[Operation]:
        """The new attempts that it came to. To be called now and then, while this host is there.

        Raises StateBusy."""
        now = anyio.current_time()
        if now - self._looked_at > GAP_SECONDS:
            self._away_since.clear()
        self._looked_at = now
        left = await self._book.read(lambda reading: _left_behind(reading, self._book.host))
        self._away_since = {
            host: self._away_since.get(host, now) for host in {one.host for one in left} if host
        }
        anew = []
        for one in left:
            if one.host and now - self._away_since[one.host] >= self._seconds:
                anew += await self._requeue(one)
        return anew

    async def _requeue(self, operation: Operation) -> list[Operation]:
        by = f"The rule of host {self._book.host} (CODEX_MCP_REQUEUE_AFTER_SECONDS)"
        try:
            anew = await requeue(self._book, operation.id, by)
        except InvalidArgument as error:
            # Another host was faster, or the lost one is back.
            logger.info("%s is left as it is: %s", operation.id, error)
            return []
        logger.warning("%s is given up; %s takes its place", operation.id, anew.id)
        return [anew]


def _left_behind(reading: Reading, us: HostId) -> list[Operation]:
    """What hosts that are away have in hand and others can do, if that was not tried before."""
    there = hosts.present(reading) | {us}
    lost = [job.id for job in queue.active_jobs(reading) if job.host not in there]
    return [
        one
        for one in lookup.many(reading, lost)
        if _runs_anywhere(one) and not _takes_a_place(reading, one)
    ]


def _takes_a_place(reading: Reading, operation: Operation) -> bool:
    first = journal.after(reading, operation.id, 0, 5)
    return any(one.text.startswith(_TAKES_ITS_PLACE) for one in first)


def _runs_anywhere(operation: Operation) -> bool:
    return isinstance(operation.request, StartChat) and operation.workflow_id is None
