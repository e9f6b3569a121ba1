"""Which queued operations may start now: a pure decision over what runs, what waits and the time.

Each agent has a line of its own (who names no agent stands in one for all of those), in order of
when a job is due: when it came, and a step later for each priority that it is below high. Of those
at the head of a line, who could run now, the next to start is

1. who is due, or will be in fewer steps: so each step of waiting lifts a job by one priority;
2. of equals, whose agent has fewer turns, those just started among them;
3. of equals, who waits longer: since it was due or its agent last began a turn, whichever is later.

Who cannot run now holds nobody up, with one exception: who waits for nothing but its resource keys
is not passed by those whose keys would keep it waiting.

So nobody starves while turns end. Two steps after it came a job is level with every other, agents
take turns whatever the length of their lines, and in its line only those stay before a job that
were due before it.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from codex_control_plane_mcp.clock import Moment, later, seconds_between
from codex_control_plane_mcp.model.ids import OperationId, ProjectId, ThreadId
from codex_control_plane_mcp.model.policy import Sandbox
from codex_control_plane_mcp.model.request import Priority

#: A waiting job counts as one of the next priority after so long.
STEP_SECONDS: Final = 300

NEVER: Final = Moment(0)

_STEPS: Final = {Priority.HIGH: 0, Priority.NORMAL: 1, Priority.LOW: 2}


@dataclass(frozen=True, slots=True)
class Limits:
    """How many turns may be active at once. A thread never has more than one."""

    everywhere: int = 4
    per_project: int = 3
    per_agent: int = 3
    writing_per_project: int = 1


def due_at(priority: Priority, created_at: Moment) -> Moment:
    """When a job is on a level with those of high priority."""
    return later(created_at, _STEPS[priority] * STEP_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What the decision needs to know of one operation."""

    id: OperationId
    project_id: ProjectId
    #: "": who submitted it named none.
    agent: str = ""
    thread_id: ThreadId | None = None
    sandbox: Sandbox
    #: What of its project it has for itself while it runs: `src` excludes `src/api`, "" all keys.
    resource_keys: tuple[str, ...] = ()
    due_at: Moment
    #: When its agent last began a turn; 0: never.
    agent_served_at: Moment = NEVER
    #: Whether it has a turn of its own. Steering belongs to a turn that has its slots already.
    takes_turn: bool = True


@dataclass(frozen=True, slots=True)
class Passed:
    """Whom the queue need not offer: who has been chosen, and who could not start anyway."""

    chosen: frozenset[OperationId]
    projects: frozenset[str]
    agents: frozenset[str]
    threads: frozenset[str]
    written_projects: frozenset[str]
    #: Keys that wait for others of their project.
    keys: frozenset[tuple[ProjectId, tuple[str, ...]]]


#: Gives the first job of each agent's line, by `due_at` and id, that need not be passed.
Heads: TypeAlias = Callable[[Passed], Iterable[Job]]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a job does not start yet, and its place in the queue by when it is due; that agents take
    turns may bring it forward."""

    reason: str
    position: int


@dataclass(frozen=True, slots=True)
class Decision:
    #: The jobs to start, in order.
    start: tuple[OperationId, ...]
    _before: "_Taken"
    _after: "_Taken"

    def reason(self, job: Job) -> str | None:
        """Why a job of the queue has to wait; None when it is about to start."""
        if job.id in self.start:
            return None
        return self._before.obstacle(job) or self._after.obstacle(job)


def decide(heads: Heads, active: Sequence[Job], limits: Limits, now: Moment) -> Decision:
    """Choose the jobs to start, one after the other, until there is no slot or nobody to take it.

    However many wait, the queue is asked for the heads of its lines only, once for each that
    starts.
    """
    before = _Taken(limits, active)
    taken = _Taken(limits, active)
    start: list[OperationId] = []
    while not taken.is_full and (offered := list(heads(taken.passed()))):
        job = min(offered, key=lambda job: taken.turn(job, now))
        if taken.obstacle(job) is None:
            start.append(job.id)
            taken.start(job, now)
        else:
            taken.keep_keys_for(job)
    return Decision(tuple(start), before, taken)


def obstacle(job: Job, active: Iterable[Job], limits: Limits) -> str | None:
    """What of that which runs keeps a job waiting."""
    return _Taken(limits, active).obstacle(job)


SlotKind: TypeAlias = Literal["global", "project", "agent", "thread", "project_writes"]
_Slot: TypeAlias = tuple[SlotKind, str]

_REASONS: Final[dict[SlotKind, str]] = {
    "global": "all turn slots are taken",
    "project": "the project's turn slots are taken",
    "agent": "the agent's turn slots are taken",
    "thread": "another turn runs in this thread",
    "project_writes": "another writing turn runs in this project",
}


def slots(job: Job) -> Sequence[_Slot]:
    """Every slot the job takes while it runs: of what kind, and whose."""
    if not job.takes_turn:
        return ()
    taken: list[_Slot] = [("global", ""), ("project", job.project_id)]
    if job.agent:
        taken.append(("agent", job.agent))
    if job.thread_id is not None:
        taken.append(("thread", job.thread_id))
    if job.sandbox is not Sandbox.READ_ONLY:
        taken.append(("project_writes", job.project_id))
    return taken


def keys_meet(ours: Iterable[str], theirs: Iterable[str]) -> bool:
    """Whether two operations of one project would work on the same of it."""
    others = tuple(theirs)
    return any(_covers(one, other) or _covers(other, one) for one in ours for other in others)


def _covers(folder: str, key: str) -> bool:
    return not folder or key == folder or key.startswith(f"{folder}/")


class _Taken:
    """The slots and resource keys in use: by what runs, and by what is about to."""

    def __init__(self, limits: Limits, active: Iterable[Job]) -> None:
        self._limits: dict[SlotKind, int] = {
            "global": limits.everywhere,
            "project": limits.per_project,
            "agent": limits.per_agent,
            "thread": 1,
            "project_writes": limits.writing_per_project,
        }
        self._count: Counter[_Slot] = Counter()
        #: How many turns each agent has, the unnamed one too.
        self._turns: Counter[str] = Counter()
        #: Of those chosen now: when their agents last began a turn.
        self._served: dict[str, Moment] = {}
        self._chosen: set[OperationId] = set()
        #: Whose keys others must not meet: of those that run, and of those that wait for nothing
        #: else.
        self._keys: defaultdict[ProjectId, dict[OperationId, tuple[str, ...]]] = defaultdict(dict)
        self._waiting: set[tuple[ProjectId, tuple[str, ...]]] = set()
        for job in active:
            self._take(job)

    def start(self, job: Job, now: Moment) -> None:
        self._take(job)
        self._chosen.add(job.id)
        self._served[job.agent] = now

    def keep_keys_for(self, job: Job) -> None:
        """Let nobody behind it pass with keys that would keep it waiting."""
        self._keys[job.project_id][job.id] = job.resource_keys
        self._waiting.add((job.project_id, job.resource_keys))

    @property
    def is_full(self) -> bool:
        return self._is_full(("global", ""))

    def obstacle(self, job: Job) -> str | None:
        """What keeps a job from starting beside all these."""
        for slot in slots(job):
            if self._is_full(slot):
                return _REASONS[slot[0]]
        for id_, keys in self._keys[job.project_id].items():
            if id_ != job.id and keys_meet(job.resource_keys, keys):
                return f"its resource keys meet those of {id_}"
        return None

    def passed(self) -> Passed:
        gone: defaultdict[SlotKind, set[str]] = defaultdict(set)
        for slot in self._count:
            if self._is_full(slot):
                gone[slot[0]].add(slot[1])
        return Passed(
            chosen=frozenset(self._chosen),
            projects=frozenset(gone["project"]),
            agents=frozenset(gone["agent"]),
            threads=frozenset(gone["thread"]),
            written_projects=frozenset(gone["project_writes"]),
            keys=frozenset(self._waiting),
        )

    def turn(self, job: Job, now: Moment) -> tuple[int, int, Moment, Moment, OperationId]:
        """Whose turn it is: of two jobs the one for which this is less."""
        steps = math.ceil(seconds_between(now, job.due_at) / STEP_SECONDS)
        served_at = self._served.get(job.agent, job.agent_served_at)
        return (
            steps,
            self._turns[job.agent],
            max(job.due_at, served_at),
            job.due_at,
            job.id,
        )

    def _take(self, job: Job) -> None:
        if job.takes_turn:
            self._count.update(slots(job))
            self._turns[job.agent] += 1
            self._keys[job.project_id][job.id] = job.resource_keys

    def _is_full(self, slot: _Slot) -> bool:
        return self._count[slot] >= self._limits[slot[0]]
