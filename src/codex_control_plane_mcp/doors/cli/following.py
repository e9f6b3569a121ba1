"""Following a task to its end: the book tells what happened, the worker when to look again."""

from dataclasses import dataclass
from typing import Protocol

from codex_control_plane_mcp.desk.lookup import Found, Thing
from codex_control_plane_mcp.desk.views import OperationView
from codex_control_plane_mcp.desk.workflows.views import WorkflowView
from codex_control_plane_mcp.doors.cli.client import Server
from codex_control_plane_mcp.doors.cli.exits import Exit, of_end, of_phase
from codex_control_plane_mcp.doors.cli.room import Room
from codex_control_plane_mcp.model.operation import FINAL

#: One call waits this long for news.
WAIT_SECONDS = 45
#: Entries read at once.
PAGE = 200


class Teller(Protocol):
    """Tells what happens, as it is heard of."""

    def operation(self, view: OperationView) -> None:
        """How an operation stands, with the events that were not told yet."""

    def workflow(self, view: WorkflowView) -> None:
        """How a workflow stands, whenever another of its operations goes on."""


@dataclass(frozen=True, slots=True)
class Follower:
    """What is followed, and how far."""

    room: Room
    server: Server
    found: Found
    #: Leave off when Codex asks something that nobody has answered.
    until_asked: bool = False
    #: Of what happened before, so many entries are told; None: all of them.
    past: int | None = None


async def follow(follower: Follower, teller: Teller) -> Exit:
    """Until it has ended, or only somebody's word would take it further."""
    if follower.found.thing is Thing.OPERATION:
        return await _operation(follower, follower.found.id, teller)
    while True:
        workflow = await follower.room.workflow(follower.found.id)
        teller.workflow(workflow)
        if (outcome := of_phase(workflow.phase)) is not None:
            return outcome
        outcome = await _operation(follower, _at_work(workflow), teller)
        if outcome is Exit.WANTS_SOMEBODY:
            return outcome


def _at_work(workflow: WorkflowView) -> str:
    id_ = (
        workflow.execution_operation_id
        or workflow.review_operation_id
        or workflow.plan_operation_id
    )
    assert id_ is not None  # noqa: S101  # a workflow begins with an operation
    return id_


async def _operation(follower: Follower, operation_id: str, teller: Teller) -> Exit:
    seq = await _start(follower, operation_id)
    while True:
        view = await follower.room.events(operation_id, seq, PAGE)
        teller.operation(view)
        if view.progress_events:
            seq = view.progress_events[-1].seq
            continue  # there may be more of them
        if view.status in FINAL:
            return of_end(view.status)
        if follower.until_asked and view.pending_interactions:
            return Exit.WANTS_SOMEBODY
        await follower.server.status(
            operation_id, wait_seconds=WAIT_SECONDS, after_seq=seq, progress_events=1
        )


async def _start(follower: Follower, operation_id: str) -> int:
    if follower.past is None:
        return 0
    now = await follower.room.operation(operation_id, events=0)
    return max(0, now.latest_seq - follower.past)
