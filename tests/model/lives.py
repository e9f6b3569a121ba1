"""Operations and what happens to them, for tests that need one at a certain point of its life."""

from collections.abc import Sequence
from typing import Final, get_args

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.model.ids import (
    AppServerId,
    Generation,
    OperationId,
    ProjectId,
    ThreadId,
    TurnId,
)
from codex_control_plane_mcp.model.operation import (
    Adopted,
    ApprovalAwaited,
    Cancelled,
    Claimed,
    Completed,
    Done,
    Fact,
    Failed,
    Interrupted,
    Lost,
    Operation,
    OwnerChanged,
    Plan,
    Policy,
    Report,
    Resumed,
    Status,
    ThreadBound,
    ThreadLost,
    Trouble,
    TurnAccepted,
    TurnContinued,
    TurnIntended,
    UserInputAwaited,
    Worktree,
    WorktreeMade,
    apply,
)
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox
from codex_control_plane_mcp.model.request import StartChat, TurnOptions

NOON: Final = Moment(1_800_000_000_000)
FIRST: Final = Generation(1)
SAFE: Final = TurnOptions(Sandbox.READ_ONLY, ApprovalPolicy.ON_REQUEST)

WORKTREE: Final = Worktree("/trees/op_1", "codex/1", "c0ffee", "/trees/op_1/src")
BOUND: Final = ThreadBound(
    ThreadId("thread-1"), AppServerId("app-server-1"), Policy("read-only", "on-request", "gpt")
)
INTENDED: Final = TurnIntended(TurnId("turn-0"))
ACCEPTED: Final = TurnAccepted(TurnId("turn-1"))
COMPLETED: Final = Completed(Report("All done.", TurnId("turn-1"), Plan("plan-1", "1. Rest.")))
TROUBLE: Final = Trouble("CODEX_TIMEOUT", "It took too long.")

#: One of each kind; the second `Interrupted` says why.
FACTS: Final[tuple[Fact, ...]] = (
    Claimed(FIRST),
    Adopted(Generation(2)),
    BOUND,
    ThreadLost(),
    INTENDED,
    ACCEPTED,
    TurnContinued(TurnId("turn-2")),
    OwnerChanged(AppServerId("app-server-2")),
    ApprovalAwaited(),
    UserInputAwaited(),
    Resumed(),
    COMPLETED,
    Done(Report("Forked.", None)),
    Failed(TROUBLE),
    Interrupted(),
    Interrupted(TROUBLE),
    Cancelled(),
    Lost(TROUBLE),
    WorktreeMade(WORKTREE),
)
KINDS: Final[frozenset[type[Fact]]] = frozenset(get_args(Fact))

_RUNNING: Final = (Claimed(FIRST), BOUND, INTENDED, ACCEPTED)
#: How an operation gets to each status, by the shortest way.
LIFE: Final[dict[Status, tuple[Fact, ...]]] = {
    Status.QUEUED: (),
    Status.STARTING_THREAD: _RUNNING[:1],
    Status.STARTING_TURN: _RUNNING[:2],
    Status.RUNNING: _RUNNING,
    Status.WAITING_FOR_APPROVAL: (*_RUNNING, ApprovalAwaited()),
    Status.WAITING_FOR_USER_INPUT: (*_RUNNING, UserInputAwaited()),
    Status.COMPLETED: (*_RUNNING, COMPLETED),
    Status.FAILED: (*_RUNNING, Failed(TROUBLE)),
    Status.INTERRUPTED: (*_RUNNING, Interrupted(TROUBLE)),
    Status.CANCELLED: (Cancelled(),),
    Status.UNKNOWN: (*_RUNNING[:3], Lost(TROUBLE)),
}


def queued() -> Operation:
    request = StartChat(
        message="Fix the roof.", cwd="/work/house", project_id=ProjectId("house"), options=SAFE
    )
    return Operation(
        id=OperationId("op-1"),
        request=request,
        client_request_id=None,
        agent_id=None,
        priority="normal",
        created_at=NOON,
        updated_at=NOON,
    )


def lived(facts: Sequence[Fact]) -> Operation:
    """An operation to which all of this has happened."""
    operation = queued()
    for fact in facts:
        operation = apply(operation, fact, NOON)
    return operation


def at(status: Status) -> Operation:
    operation = lived(LIFE[status])
    assert operation.status is status
    return operation
