"""Which queued operations may start now: a pure decision over what runs and what waits."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.model.ids import OperationId, ProjectId, ThreadId
from codex_control_plane_mcp.model.policy import Sandbox
from codex_control_plane_mcp.model.request import Priority


@dataclass(frozen=True, slots=True)
class Limits:
    """How many turns may be active at once. A thread never has more than one."""

    everywhere: int = 4
    per_project: int = 3
    per_agent: int = 3
    writing_per_project: int = 1


@dataclass(frozen=True, slots=True)
class Job:
    """What the decision needs to know of one operation."""

    id: OperationId
    project_id: ProjectId
    agent_id: str | None
    thread_id: ThreadId | None
    sandbox: Sandbox
    priority: Priority
    created_at: Moment
    #: Whether it has a turn of its own. Steering belongs to a turn that has its slots already.
    takes_turn: bool = True


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a job does not start yet, and how many are before it."""

    reason: str
    position: int


@dataclass(frozen=True, slots=True)
class Verdict:
    start: tuple[OperationId, ...]
    waiting: dict[OperationId, Waiting]


@dataclass(frozen=True, slots=True)
class Full:
    """Where what is active leaves no slot: what waits for one of these need not be looked at."""

    everywhere: bool
    projects: frozenset[str]
    agents: frozenset[str]
    threads: frozenset[str]
    written_projects: frozenset[str]


def full(active: Sequence[Job], limits: Limits) -> Full:
    """The slots that are all taken."""
    taken = Counter(slot for job in active for slot, _ in _slots(job, limits))
    gone = {slot for job in active for slot, limit in _slots(job, limits) if taken[slot] >= limit}

    def named(kind: str) -> frozenset[str]:
        return frozenset(name for slot_kind, name in gone if slot_kind == kind)

    return Full(
        everywhere=bool(named("global")),
        projects=named("project"),
        agents=named("agent"),
        threads=named("thread"),
        written_projects=named("project_writes"),
    )


RANK = {Priority.HIGH: 0, Priority.NORMAL: 1, Priority.LOW: 2}


def turn(job: Job) -> tuple[int, Moment, OperationId]:
    """Whose turn it is first: of two jobs the one for which this is less."""
    return RANK[job.priority], job.created_at, job.id


def decide(queued: Iterable[Job], active: Iterable[Job], limits: Limits) -> Verdict:
    """The jobs to start, in order, and for each of the others the limit it waits for."""
    taken = Counter(slot for job in active for slot, _ in _slots(job, limits))
    start: list[OperationId] = []
    waiting: dict[OperationId, Waiting] = {}
    for job in sorted(queued, key=turn):
        full = next((slot for slot, limit in _slots(job, limits) if taken[slot] >= limit), None)
        if full is None:
            taken.update(slot for slot, _ in _slots(job, limits))
            start.append(job.id)
        else:
            waiting[job.id] = Waiting(_reason(full), position=len(waiting) + 1)
    return Verdict(tuple(start), waiting)


_Slot = tuple[str, str]


def _slots(job: Job, limits: Limits) -> Sequence[tuple[_Slot, int]]:
    """Every slot the job takes while it runs, with how many of that slot there are."""
    if not job.takes_turn:
        return ()
    slots: list[tuple[_Slot, int]] = [
        (("global", ""), limits.everywhere),
        (("project", job.project_id), limits.per_project),
    ]
    if job.agent_id is not None:
        slots.append((("agent", job.agent_id), limits.per_agent))
    if job.thread_id is not None:
        slots.append((("thread", job.thread_id), 1))
    if job.sandbox is not Sandbox.READ_ONLY:
        slots.append((("project_writes", job.project_id), limits.writing_per_project))
    return slots


def _reason(slot: _Slot) -> str:
    match slot[0]:
        case "global":
            return "all turn slots are taken"
        case "project":
            return "the project's turn slots are taken"
        case "agent":
            return "the agent's turn slots are taken"
        case "thread":
            return "another turn runs in this thread"
        case _:
            return "another writing turn runs in this project"
