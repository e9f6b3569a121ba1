"""Which queued operations may start now: a pure decision over what runs, what waits and the time.

Each agent has a line of its own (who names no agent stands in one for all of those), in order of
when a job is due: when it came, and a step later for each priority that it is below high. Of those
at the head of a line, who could run now, the next to start is

1. who is due, or will be in fewer steps: so each step of waiting lifts a job by one priority;
2. of equals, whose agent has fewer turns, those just started among them;
3. of equals, who waits longer: since it was due or one before it in its line last began a turn,
   whichever is later.

Who cannot run now holds nobody up, with two exceptions:

- who waits for nothing but its resource keys is not passed by those whose keys would keep it
  waiting;
- who has stood at the head of its line for `PATIENCE_SECONDS` goes before all others, and has what
  it wants kept for it, in this order: its thread, a slot of its agent, its keys, the right to write
  in its project, a slot of its project. The next is kept only when it has those before, so what
  many want is not left idle for one who waits for what few want, and of two for whom something is
  kept neither waits for what is kept for the other for ever.

So nobody starves while turns end. Those before a job in its line go, and it is the head; only they
go before it then who came to the head of their lines earlier, and those are ever fewer; and what it
waits for comes free once and is not taken again.

In a fleet each host decides for itself, of what it can run. A new job that any of several could run
it leaves to one that is connected, has room, and is relatively emptier; for `YIELD_SECONDS`, and
then takes it itself. The emptiest leaves nothing, so what is left is left to somebody.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import PurePath
from typing import Final, Literal, TypeAlias

from codex_control_plane_mcp.clock import Moment, later, seconds_between
from codex_control_plane_mcp.model.ids import HostId, OperationId, ProjectId, ThreadId
from codex_control_plane_mcp.model.policy import Sandbox
from codex_control_plane_mcp.model.request import Priority

#: A waiting job counts as one of the next priority after so long.
STEP_SECONDS: Final = 300

#: For so long others may pass who waits at the head of its line. Longer than most turns, so that
#: where all wait long it is still the agents' turns that decide.
PATIENCE_SECONDS: Final = 6 * STEP_SECONDS

#: For so long a fuller host leaves a new job to an emptier one. That takes it in milliseconds, or
#: does not work as it should.
YIELD_SECONDS: Final = 5

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
    #: When one before it in its line last began a turn; 0: never since this one was due.
    line_moved_at: Moment = NEVER
    #: Whether it has a turn of its own. Steering belongs to a turn that has its slots already.
    takes_turn: bool = True
    #: Where it runs, or must; None while any host may take it.
    host: HostId | None = None
    #: What that host must have.
    labels: tuple[str, ...] = ()
    created_at: Moment = NEVER

    @property
    def first_since(self) -> Moment:
        """Of the head of a line: since when it is, and is due."""
        return max(self.due_at, self.line_moved_at)


@dataclass(frozen=True, slots=True)
class Reach:
    """What one host of a fleet can run: what must run there, and what may run anywhere in the
    projects that it has."""

    host: HostId
    projects: frozenset[str]
    #: How many turns it may have at once.
    capacity: int
    labels: frozenset[str] = frozenset()
    #: The same of the other hosts that are connected.
    others: tuple["Reach", ...] = ()
    #: The projects that it has at another path than was asked for: those paths, and its own.
    moved: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def can_run(self, job: Job) -> bool:
        has_place = job.project_id in self.projects or job.thread_id is not None
        return has_place and (job.host == self.host or (job.host is None and self.has(job.labels)))

    def has(self, labels: Iterable[str]) -> bool:
        return self.labels.issuperset(labels)

    def room(self, active: Iterable[Job]) -> int:
        """How many more turns it may have beside those that are active anywhere."""
        return self.capacity - sum(job.takes_turn and job.host == self.host for job in active)

    def checkout(self, project_id: str, cwd: str) -> str | None:
        """Where it has a folder of a project, if not at `cwd` itself."""
        if project_id not in self.moved:
            return None
        asked, own = map(PurePath, self.moved[project_id])
        folder = PurePath(cwd)
        if folder.is_relative_to(own) or not folder.is_relative_to(asked):
            return None
        return str(own / folder.relative_to(asked))


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """Whom the queue need not offer: who has been chosen, and who could not start anyway."""

    chosen: frozenset[OperationId] = frozenset()
    projects: frozenset[str] = frozenset()
    agents: frozenset[str] = frozenset()
    threads: frozenset[str] = frozenset()
    written_projects: frozenset[str] = frozenset()
    #: Keys that wait for others of their project.
    keys: frozenset[tuple[ProjectId, tuple[str, ...]]] = frozenset()
    #: Labels that a host does not have.
    labels: frozenset[tuple[str, ...]] = frozenset()
    #: By project and labels: what came since then and is left to another host.
    left: frozenset[tuple[ProjectId, tuple[str, ...]]] = frozenset()
    left_since: Moment = NEVER


#: Gives the first job of each agent's line, by `due_at` and id, that need not be passed.
Heads: TypeAlias = Callable[[Passed], Iterable[Job]]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a job does not start yet, and its place in the queue by when it is due; that agents take
    turns may bring it forward."""

    reason: str
    position: int


@dataclass(frozen=True)
class Decision:
    #: The jobs to start, in order.
    start: tuple[OperationId, ...]
    _limits: Limits
    _active: Sequence[Job]
    _after: "_Taken"

    @cached_property
    def _before(self) -> "_Taken":
        # Whoever only wants to start something does not ask why others wait.
        return _Taken(self._limits, self._active)

    def reason(self, job: Job) -> str | None:
        """Why a job of the queue has to wait; None when it is about to start."""
        if job.id in self.start:
            return None
        return self._before.obstacle(job) or self._after.obstacle(job)


def decide(
    heads: Heads, active: Sequence[Job], limits: Limits, now: Moment, reach: Reach | None = None
) -> Decision:
    """Choose the jobs to start, one after the other, until there is no slot or nobody to take it.
    `reach`: for the host that can run this, where there are others.

    However many wait, the queue is asked for the heads of its lines only, once and once more for
    each that starts, and for each project and labels that are another host's.
    """
    taken = _Taken(limits, active)
    share = _Share(reach, active, now)
    start: list[OperationId] = []

    def begin(job: Job) -> None:
        start.append(job.id)
        taken.start(job, now)
        share.take()

    def first(passed: Passed) -> list[Job]:
        return share.of(heads, passed)

    for job in () if taken.is_full or share.is_full else _impatient(first, taken, now):
        if taken.obstacle(job) is not None:
            taken.keep_for(job)
        elif not share.is_full:
            begin(job)
    while not (share.is_full or taken.is_full) and (offered := first(taken.passed())):
        job = min(offered, key=lambda job: taken.turn(job, now))
        if taken.obstacle(job) is None:
            begin(job)
        else:
            taken.keep_keys_for(job)
    return Decision(tuple(start), limits, active, taken)


class _Share:
    """What of the queue is one host's to take: what it can run, and no emptier one shall."""

    def __init__(self, reach: Reach | None, active: Iterable[Job], now: Moment) -> None:
        self._reach = reach
        self._since = later(now, -YIELD_SECONDS)
        self._turns = Counter(job.host for job in active if job.takes_turn)
        self._unfit: set[tuple[str, ...]] = set()
        self._left: set[tuple[ProjectId, tuple[str, ...]]] = set()

    @property
    def is_full(self) -> bool:
        return self._reach is not None and self._room(self._reach) <= 0

    def take(self) -> None:
        if self._reach is not None:
            self._turns[self._reach.host] += 1

    def of(self, heads: Heads, passed: Passed) -> list[Job]:
        """The first of each line that is this host's to take."""
        reach = self._reach
        if reach is None:
            return list(heads(passed))
        emptier = [other for other in reach.others if self._is_emptier(other, reach)]
        while True:
            passed = replace(
                passed,
                labels=frozenset(self._unfit),
                left=frozenset(self._left),
                left_since=self._since,
            )
            found = list(heads(passed))
            unfit = {job.labels for job in found if not reach.has(job.labels)}
            left = {(job.project_id, job.labels) for job in found if self._is_left(job, emptier)}
            if not unfit and not left:
                return found
            self._unfit |= unfit
            self._left |= left

    def _is_left(self, job: Job, emptier: Iterable[Reach]) -> bool:
        is_new = job.host is None and job.created_at > self._since
        return is_new and any(other.can_run(job) for other in emptier)

    def _is_emptier(self, other: Reach, reach: Reach) -> bool:
        """Whether another host has room, and uses less of what it may have."""
        ours, theirs = self._turns[reach.host], self._turns[other.host]
        return self._room(other) > 0 and theirs * reach.capacity < ours * other.capacity

    def _room(self, reach: Reach) -> int:
        return reach.capacity - self._turns[reach.host]


def _impatient(heads: Heads, taken: "_Taken", now: Moment) -> list[Job]:
    """Who has stood at the head of its line for too long, the longest first. Those behind a turn
    of their thread do not stand in the line meanwhile: it is theirs when that has ended."""
    found = heads(Passed(threads=taken.passed().threads))
    return sorted(
        (job for job in found if seconds_between(job.first_since, now) >= PATIENCE_SECONDS),
        key=lambda job: (job.first_since, job.due_at, job.id),
    )


def obstacle(job: Job, active: Iterable[Job], limits: Limits) -> str | None:
    """What of that which runs keeps a job waiting."""
    return _Taken(limits, active).obstacle(job)


def unplaced(
    job: Job, fleet: Collection[Reach], connected: Collection[HostId], active: Collection[Job]
) -> str | None:
    """Which host would have to be there, or have room, for a job to start; None where one is."""
    if job.host is not None and job.host not in connected:
        return f"its host {job.host} is not connected"
    labels = f"the label{'s' if len(job.labels) > 1 else ''} {', '.join(job.labels)}"
    labelled = [one for one in fleet if one.has(job.labels)]
    if not labelled:
        return f"no host has {labels}"
    if job.labels and not any(one.host in connected for one in labelled):
        return f"no host that has {labels} is connected"
    able = [one for one in fleet if one.host in connected and one.can_run(job)]
    if not able and job.host is not None:
        return f"its host {job.host} does not have its project"
    if not able:
        beside = f" and {labels}" if job.labels else ""
        return f"no host that is connected has its project{beside}"
    if all(one.room(active) <= 0 for one in able):
        return "every host that could run it has as many turns as it may"
    return None


SlotKind: TypeAlias = Literal["global", "project", "agent", "thread", "project_writes"]
_Slot: TypeAlias = tuple[SlotKind, str]

_REASONS: Final[dict[SlotKind, str]] = {
    "global": "all turn slots are taken",
    "project": "the project's turn slots are taken",
    "agent": "the agent's turn slots are taken",
    "thread": "another turn runs in this thread",
    "project_writes": "another writing turn runs in this project",
}


#: The kinds of which an impatient job keeps its slot before it has its keys; then of which.
_KEPT_BEFORE_KEYS: Final[tuple[SlotKind, ...]] = ("thread", "agent")
_KEPT_AFTER_KEYS: Final[tuple[SlotKind, ...]] = ("project_writes", "project")


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
    """The slots and resource keys that nobody may have: in use by what runs or is about to, or
    kept."""

    def __init__(self, limits: Limits, active: Iterable[Job]) -> None:
        self._limits: dict[SlotKind, int] = {
            "global": limits.everywhere,
            "project": limits.per_project,
            "agent": limits.per_agent,
            "thread": 1,
            "project_writes": limits.writing_per_project,
        }
        self._count: Counter[_Slot] = Counter()
        #: For whom slots are kept.
        self._kept: defaultdict[_Slot, list[OperationId]] = defaultdict(list)
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
        if job.resource_keys:
            self._keys[job.project_id][job.id] = job.resource_keys
            self._waiting.add((job.project_id, job.resource_keys))

    def keep_for(self, job: Job) -> None:
        """Keep what it wants of each kind, as far as it has all of the kinds before."""
        if self._keeps_slots(job, _KEPT_BEFORE_KEYS):
            self.keep_keys_for(job)
            if self._holder_of_keys(job) is None:
                self._keeps_slots(job, _KEPT_AFTER_KEYS)

    @property
    def is_full(self) -> bool:
        return self._free(("global", "")) <= 0

    def obstacle(self, job: Job) -> str | None:
        """What keeps a job from starting beside all these."""
        for slot in slots(job):
            kept = [id_ for id_ in self._kept[slot] if id_ != job.id]
            if self._count[slot] >= self._limits[slot[0]]:
                return _REASONS[slot[0]]
            if self._count[slot] + len(kept) >= self._limits[slot[0]]:
                return f"it may not pass {kept[0]}, which has waited for too long"
        holder = self._holder_of_keys(job)
        return None if holder is None else f"its resource keys meet those of {holder}"

    def passed(self) -> Passed:
        gone: defaultdict[SlotKind, set[str]] = defaultdict(set)
        for slot in {*self._count, *self._kept}:
            if self._free(slot) <= 0:
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
        served_at = self._served.get(job.agent, job.line_moved_at)
        return (
            steps,
            self._turns[job.agent],
            max(job.due_at, served_at),
            job.due_at,
            job.id,
        )

    def _take(self, job: Job) -> None:
        if job.takes_turn:
            for slot in slots(job):
                self._count[slot] += 1
            self._turns[job.agent] += 1
            if job.resource_keys:
                self._keys[job.project_id][job.id] = job.resource_keys

    def _free(self, slot: _Slot) -> int:
        return self._limits[slot[0]] - self._count[slot] - len(self._kept[slot])

    def _keeps_slots(self, job: Job, kinds: Sequence[SlotKind]) -> bool:
        """Keep its slots of these kinds up to the first that it cannot have; whether it has all."""
        wanted = dict(slots(job))
        for slot in ((kind, wanted[kind]) for kind in kinds if kind in wanted):
            if self._free(slot) <= 0:
                return False
            self._kept[slot].append(job.id)
        return True

    def _holder_of_keys(self, job: Job) -> OperationId | None:
        for id_, keys in self._keys[job.project_id].items():
            if id_ != job.id and keys_meet(job.resource_keys, keys):
                return id_
        return None
