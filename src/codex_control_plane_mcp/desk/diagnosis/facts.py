"""Everything that rules may look at, gathered in one look. Nothing is started or changed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from codex_control_plane_mcp.clock import Moment, isoformat, later, seconds_between
from codex_control_plane_mcp.desk.diagnosis.surroundings import Surroundings
from codex_control_plane_mcp.desk.runtime import AppServerState, CodexState
from codex_control_plane_mcp.desk.status import found, host_is_away, open_questions
from codex_control_plane_mcp.desk.views_diagnostics import LogLine
from codex_control_plane_mcp.desk.views_inventory import RuntimeCapabilities
from codex_control_plane_mcp.desk.workflows.standing import found as workflow_found
from codex_control_plane_mcp.errors import ThreadNotFound
from codex_control_plane_mcp.model.ids import (
    HERE,
    AppServerId,
    HostId,
    OperationId,
    ThreadId,
    WorkflowId,
)
from codex_control_plane_mcp.model.interaction import Interaction
from codex_control_plane_mcp.model.journal import Category, Written
from codex_control_plane_mcp.model.operation import QUEUED, WITH_TURN, Operation, Status
from codex_control_plane_mcp.model.schedule import Limits
from codex_control_plane_mcp.store import (
    hosts,
    interactions,
    journal,
    lookup,
    queue,
    workers,
    workflows,
)
from codex_control_plane_mcp.store.book import Reading
from codex_control_plane_mcp.store.workers import Worker

#: Of what is looked at where nobody names anything: at most so many of each kind.
MOST = 10
#: What went wrong longer ago explains nothing that goes wrong now.
RECENT_SECONDS = 6 * 3600.0
#: The last entries of an operation that speak of trouble.
NOTICES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What is looked at; all of it where nothing is named."""

    operation_id: OperationId | None = None
    workflow_id: WorkflowId | None = None
    thread_id: ThreadId | None = None

    @property
    def is_whole(self) -> bool:
        return self == Scope()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One operation, and what stands around it."""

    operation: Operation
    #: Questions that want an answer.
    questions: tuple[Interaction, ...]
    #: Questions that are open, and the app-server that asked is gone.
    stale_questions: tuple[Interaction, ...]
    #: Why it waits in the queue; None where it does not, or is about to start.
    waits_for: str | None
    #: Which host of the fleet would have to be there for it; None where one is.
    lacks_host: str | None = None
    #: For how long Codex has said nothing of its running turn.
    quiet_seconds: float | None
    #: Whether the app-server that has its thread has ended, provably: only known of this host's.
    owner_gone: bool
    #: Whether another host of a fleet has it.
    is_elsewhere: bool
    #: The host of a fleet that has it and is not there; None where it is, or there is no fleet.
    host_away: HostId | None
    #: What was last noted of trouble, oldest first.
    notices: tuple[Written, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What the book says."""

    cases: tuple[Case, ...]
    queued: int
    active: int
    worker: Worker | None
    #: The latest moment that the book tells of.
    latest: Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    now: Moment
    scope: Scope
    #: What the caller complains about, in their words.
    problem_text: str
    books: Books
    codex: CodexState
    app_server: AppServerState
    #: Whether it answers at this moment; None where nobody is connected to it.
    app_server_answers: bool | None
    #: What Codex offered when it was last asked.
    capabilities: RuntimeCapabilities | None
    around: Surroundings
    limits: Limits
    #: The last warnings and errors, oldest first.
    log: tuple[LogLine, ...]

    @property
    def cases(self) -> tuple[Case, ...]:
        return self.books.cases


def recent(lines: Sequence[LogLine], now: Moment) -> tuple[LogLine, ...]:
    """Those that may explain what goes wrong now."""
    since = isoformat(later(now, -RECENT_SECONDS))
    return tuple(line for line in lines if line.at is not None and line.at >= since)


def look(
    reading: Reading,
    scope: Scope,
    limits: Limits,
    has_ended: Callable[[AppServerId], bool],
    now: Moment,
    *,
    host: HostId = HERE,
) -> Books:
    """What the book says, read on `host`, which can tell of its own app-servers alone that they
    have ended. Raises OperationNotFound, WorkflowNotFound or ThreadNotFound."""

    def is_gone(operation: Operation, app_server_id: AppServerId) -> bool:
        return operation.host in (None, host) and has_ended(app_server_id)

    chosen = _chosen(reading, scope, limits, now)
    asked = interactions.open_of_many(reading, [one.id for one in chosen])
    unanswered = open_questions(reading, [one.id for one in chosen])
    queued = [queue.job_of(one) for one in chosen if one.status in QUEUED]
    # A host that is full is not lacking: its turns end.
    lacking = hosts.absences(reading, queued, lambda _: ())
    worker = workers.latest(reading, host)
    newest = lookup.newest(reading, 1)
    return Books(
        cases=tuple(
            Case(
                operation=one,
                questions=tuple(unanswered[one.id]),
                stale_questions=tuple(
                    each for each in asked[one.id] if is_gone(one, each.asked.app_server_id)
                ),
                waits_for=_waits_for(reading, one, limits, now),
                lacks_host=lacking.get(one.id),
                quiet_seconds=_quiet_seconds(one, now),
                owner_gone=one.app_server_id is not None and is_gone(one, one.app_server_id),
                is_elsewhere=one.host not in (None, host),
                host_away=one.host if host_is_away(reading, one) else None,
                notices=_notices(reading, one),
            )
            for one in chosen
        ),
        queued=queue.queued_count(reading),
        active=len(queue.active_jobs(reading)),
        worker=worker,
        latest=max(
            (
                *(one.updated_at for one in (*newest, *chosen)),
                *((worker.heartbeat_at,) if worker else ()),
            ),
            default=now,
        ),
    )


def _chosen(reading: Reading, scope: Scope, limits: Limits, now: Moment) -> Sequence[Operation]:
    if scope.operation_id is not None:
        return [found(reading, scope.operation_id)]
    if scope.workflow_id is not None:
        return workflows.operations_of(reading, workflow_found(reading, scope.workflow_id))
    if scope.thread_id is not None:
        touched = lookup.newest(reading, MOST, thread_id=scope.thread_id)
        if not touched:
            raise ThreadNotFound(
                f"no operation of this control plane touched the thread {scope.thread_id}",
                threadId=scope.thread_id,
            )
        return touched
    active = lookup.many(reading, [job.id for job in queue.active_jobs(reading)][:MOST])
    waiting = [one for one, _ in queue.front(reading, limits, now, MOST)]
    well_at = max(
        (one.completed_at or 0 for one in lookup.newest(reading, MOST) if _went_well(one)),
        default=0,
    )
    # What failed before another one went well is over.
    ended = [
        one
        for one in lookup.recent_troubles(reading, MOST)
        if one.is_final
        and one.updated_at > well_at
        and seconds_between(one.updated_at, now) <= RECENT_SECONDS
    ]
    return list({one.id: one for one in (*active, *waiting, *ended)}.values())


def _went_well(operation: Operation) -> bool:
    """Whether Codex and the model did what was asked, so that they can."""
    return operation.status is Status.COMPLETED and operation.turn_id is not None


def _waits_for(reading: Reading, operation: Operation, limits: Limits, now: Moment) -> str | None:
    if operation.status not in QUEUED:
        return None
    waiting = queue.waiting(reading, operation, limits, now)
    return None if waiting is None else waiting.reason


def _quiet_seconds(operation: Operation, now: Moment) -> float | None:
    if operation.status not in WITH_TURN or operation.heard_at is None:
        return None
    return seconds_between(operation.heard_at, now)


def _notices(reading: Reading, operation: Operation) -> tuple[Written, ...]:
    of_trouble = (Category.NOTICE, Category.ERROR)
    noted = [
        entry
        for category in of_trouble
        for entry in journal.newest(reading, operation.id, NOTICES, category)
    ]
    return tuple(sorted(noted, key=lambda entry: entry.seq)[-NOTICES:])
