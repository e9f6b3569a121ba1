"""The queue as the book has it: what waits, what runs, and what a worker may take.

Who starts is decided in `model.schedule`; here is what it asks. However many wait, only the heads
of the agents' lines are read: SQL passes those who could not start, before it takes the first.
"""

import json
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    CTE,
    ColumnElement,
    Connection,
    Integer,
    ScalarSelect,
    Select,
    Text,
    and_,
    any_,
    bindparam,
    case,
    func,
    literal_column,
    not_,
    or_,
    select,
    true,
    tuple_,
    union_all,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.model.ids import NOBODY, Generation, HostId, OperationId
from codex_control_plane_mcp.model.operation import Claimed, Operation, Status
from codex_control_plane_mcp.model.policy import Sandbox
from codex_control_plane_mcp.model.request import OperationType, Priority, sandbox_of
from codex_control_plane_mcp.model.schedule import (
    NEVER,
    Decision,
    Job,
    Limits,
    Passed,
    Reach,
    Waiting,
    decide,
    due_at,
    obstacle,
)
from codex_control_plane_mcp.store import epoch
from codex_control_plane_mcp.store.book import Writing
from codex_control_plane_mcp.store.lookup import many
from codex_control_plane_mcp.store.operations import Fenced, Replaced, record
from codex_control_plane_mcp.store.rows import IS_ACTIVE
from codex_control_plane_mcp.store.schema import claim_epoch, operations, wishes, workers
from codex_control_plane_mcp.store.wishes import WANTS_END


@dataclass(frozen=True, slots=True)
class Outlook:
    """The queue at one moment, and what may start there: seen by a reader, confirmed by a claim."""

    epoch: int
    #: Who owned by then what is on the host.
    owner: Generation
    #: Whether anything waits.
    has_any: bool = False
    #: How many more turns the host may have, before what may start has.
    room: float = math.inf
    #: What somebody wants to end.
    unwanted: Sequence[Operation] = ()
    #: In the order in which it is its turn.
    startable: Sequence[Operation] = ()
    #: What the host can run, and the others with it; None where it runs everything.
    reach: Reach | None = None

    @property
    def may_be_left(self) -> bool:
        """Whether something may be left to another host, which may not take it."""
        return self.room > 0 and self.reach is not None and bool(self.reach.others)

    def checkout(self, operation: Operation) -> str | None:
        """Where the host has what is to be worked on, if not at the path that was asked for."""
        request = operation.request
        if self.reach is None:
            return None
        return self.reach.checkout(request.project_id, request.cwd)


def look(
    connection: Connection,
    host: HostId,
    limits: Limits,
    now: Moment,
    reach: Callable[[Connection], Reach] | None = None,
) -> Outlook:
    """How the queue stands, as a host sees it. `reach` is what it can run, if not everything: only
    asked for where something waits."""
    rows = connection.execute(_AT_ONCE, {"of": host}).all()
    (number, owner, has_any, is_unwanted), *_ = (row[:4] for row in rows)
    seen = Outlook(number, Generation(owner or NOBODY), bool(has_any))
    if not has_any:
        return seen
    jobs = [_job(row[4:]) for row in rows if row[4] is not None]
    active = [job for job in jobs if job.takes_turn]
    within = None if reach is None else reach(connection)
    steering = [
        job for job in jobs if not job.takes_turn and (within is None or job.host == within.host)
    ]
    first = [job.id for job in sorted(steering, key=lambda job: (job.due_at, job.id))]
    start = [*first, *_decide(connection, active, limits, now, within).start]
    return replace(
        seen,
        room=math.inf if within is None else within.room(active),
        unwanted=queued_unwanted(connection) if is_unwanted else (),
        startable=[one for one in many(connection, start) if one.status is Status.QUEUED],
        reach=within,
    )


def claim(
    writing: Writing,
    generation: Generation,
    limits: Limits,
    reach: Callable[[Connection], Reach] | None = None,
    seen: Outlook | None = None,
) -> list[Operation]:
    """Take from the queue what may start now, for the worker of `generation`: as it is then, in
    the order in which it was its turn. `reach` is what its host can run, if not everything; `seen`
    is what a look has shown, which is so as long as nobody else has claimed anything.

    Needs no pen. Raises Replaced when another worker of its host owns that by now.
    """
    before = epoch.advance(writing)
    if seen is None or seen.epoch != before:
        # Everybody else waits: what the host can run is as it was a moment ago.
        known = seen.reach if seen is not None else None
        again = reach if known is None else lambda _: known
        seen = look(writing.connection, writing.host, limits, writing.now, again)
    if seen.owner != generation:
        raise Replaced(f"generation {generation} does not own what is on this host")
    taken: dict[OperationId, Operation] = {}
    for operation in sorted(seen.startable, key=lambda one: one.id):  # See `operations.held`.
        # Fenced: it has ended in the queue since it was seen.
        with suppress(Fenced):
            claimed = Claimed(generation, writing.host, seen.checkout(operation))
            taken[operation.id] = record(writing, operation, claimed)
    return [taken[one.id] for one in seen.startable if one.id in taken]


def waiting(
    connection: Connection, operation: Operation, limits: Limits, now: Moment
) -> Waiting | None:
    """Why a queued operation waits, and its place; None when it is about to start."""
    job = job_of(operation)
    if not job.takes_turn:
        return None
    active = active_jobs(connection)
    reason = obstacle(job, active, limits) or _decide(connection, active, limits, now).reason(job)
    if reason is None:
        return None
    before = connection.scalar(_COUNT_BEFORE, {"due": job.due_at, "name": job.id})
    return Waiting(reason, position=(before or 0) + 1)


def front(
    connection: Connection, limits: Limits, now: Moment, count: int
) -> list[tuple[Operation, str | None]]:
    """The first of those that wait for a turn, by when they are due, each with its reason; None
    for who is about to start."""
    found = many(connection, connection.scalars(_FRONT, {"count": count}).all())
    decision = _decide(connection, active_jobs(connection), limits, now)
    return [(operation, decision.reason(job_of(operation))) for operation in found]


def active_jobs(connection: Connection) -> list[Job]:
    return [_job(tuple(row)) for row in connection.execute(_ACTIVE)]


def queued_count(connection: Connection) -> int:
    return connection.scalar(_COUNT) or 0


def queued_by_host(connection: Connection) -> dict[HostId, int]:
    """How many wait for a host, of those that can run nowhere else."""
    return {row[0]: row[1] for row in connection.execute(_COUNT_BY_HOST)}


def queued_unwanted(connection: Connection) -> list[Operation]:
    """What waits in the queue though somebody wants it to end."""
    return many(connection, connection.scalars(_UNWANTED).all())


def job_of(operation: Operation) -> Job:
    """A queued operation as the schedule sees it."""
    request = operation.request
    return Job(
        id=operation.id,
        project_id=request.project_id,
        agent=operation.agent_id or "",
        thread_id=operation.thread_id,
        sandbox=sandbox_of(request),
        resource_keys=operation.resource_keys,
        due_at=due_at(Priority(operation.priority), operation.created_at),
        takes_turn=request.type is not OperationType.STEER_TURN,
        host=operation.host,
        labels=operation.host_labels,
        created_at=operation.created_at,
    )


def _decide(
    connection: Connection,
    active: Sequence[Job],
    limits: Limits,
    now: Moment,
    reach: Reach | None = None,
) -> Decision:
    @cache
    def heads(passed: Passed) -> list[Job]:
        values: dict[str, object] = {
            "chosen": [*passed.chosen],
            "projects": [*passed.projects],
            "agents": [*passed.agents],
            "threads": [*passed.threads],
            "written_projects": [*passed.written_projects],
        }
        if reach is not None:
            values |= {
                "host": reach.host,
                "reachable": [*reach.projects],
                "labels": [json.dumps(labels) for labels in passed.labels],
                "left": [f"{project}\n{json.dumps(labels)}" for project, labels in passed.left],
                "left_since": passed.left_since,
            }
        if passed.keys:
            values["keys"] = [f"{project}\n{json.dumps(keys)}" for project, keys in passed.keys]
        statement = _HEADS[bool(passed.keys), reach is not None]
        return [_job(tuple(row)) for row in connection.execute(statement, values)]

    return decide(heads, active, limits, now, reach)


#: What runs is the same from one look to the next, but for a few.
@lru_cache(maxsize=2_000)
def _job(row: tuple[Any, ...]) -> Job:
    id_, kind, project_id, agent_id, thread_id, sandbox, keys, due, host, labels, came, moved = row
    return Job(
        id=id_,
        project_id=project_id,
        agent=agent_id,
        thread_id=thread_id,
        sandbox=_SANDBOXES[sandbox],
        resource_keys=_words(keys),
        due_at=due,
        line_moved_at=moved or NEVER,
        takes_turn=kind != OperationType.STEER_TURN.value,
        host=host,
        labels=_words(labels),
        created_at=came,
    )


#: Of what runs and waits most have the same few keys and labels, or none.
@lru_cache(maxsize=1_000)
def _words(stored: str) -> tuple[str, ...]:
    return tuple(json.loads(stored))


# --- Statements --------------------------------------------------------------------------------
# Partial indexes are used only when their condition stands in the query to the letter.

_ROWS = operations.c
#: Once more, for what is asked about each of some rows.
_Q = operations.alias("q").c


def _that(condition: str) -> ColumnElement[bool]:
    return literal_column(condition)


class _Among(FunctionElement[bool]):
    """Whether a text is in a list, or in what a query finds. Where a list is one value, that is one
    statement however long it is: else each length would be parsed and planned anew, here and by
    the server. Of what is found it takes less than of what a query may find, and looks for each."""

    #: Without a type: a boolean is compared with 1 for SQLite, which then uses no index.
    inherit_cache = True


@compiles(_Among)
def _in_list(among: _Among, compiler: SQLCompiler, **options: Any) -> str:
    text, texts = among.clauses
    of = texts.element if isinstance(texts, ScalarSelect) else texts
    return compiler.process(text.in_(of), **options)


@compiles(_Among, "postgresql")
def _in_array(among: _Among, compiler: SQLCompiler, **options: Any) -> str:
    text, texts = among.clauses
    array = (
        func.array(texts, type_=ARRAY(Text))
        if isinstance(texts, ScalarSelect)
        else bindparam(texts.key, type_=ARRAY(Text))
    )
    return compiler.process(text == any_(array), **options)


def _among(text: ColumnElement[str], name: str) -> ColumnElement[bool]:
    return _Among(text, bindparam(name, expanding=True))


def _not_among(text: ColumnElement[str], name: str) -> ColumnElement[bool]:
    return not_(_among(text, name))


_WAITS = _that("status = 'queued' AND type <> 'steer_turn'")
_Q_WAITS = _that("q.status = 'queued' AND q.type <> 'steer_turn'")
_HAS_BEGUN = _that("q.started_at IS NOT NULL AND q.type <> 'steer_turn'")


def _opaque(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """The same, but PostgreSQL does not estimate for how many it holds. Where it thinks that these
    are few, it reads and sorts a whole line instead of walking along it up to the first."""
    return case((condition, _that("true")), else_=_that("false"))


def _lines() -> CTE:
    """The agents of whom something waits: from one to the next along the index, so that however
    many of theirs wait does not matter."""
    first = select(func.min(_ROWS.agent_id).label("agent_id")).where(_WAITS)
    lines = first.cte("lines", recursive=True)
    behind = select(func.min(_Q.agent_id)).where(_Q_WAITS, _Q.agent_id > lines.c.agent_id)
    return lines.union_all(
        select(behind.correlate(lines).scalar_subquery()).where(lines.c.agent_id.is_not(None))
    )


def _heads(*conditions: ColumnElement[bool]) -> Select[Any]:
    """Of each agent's line the first that need not be passed and meets these conditions."""
    lines = _lines()
    may_start = (
        _not_among(_Q.project_id, "projects"),
        or_(_Q.thread_id.is_(None), _not_among(_Q.thread_id, "threads")),
        or_(_that("q.sandbox = 'read-only'"), _not_among(_Q.project_id, "written_projects")),
        _not_among(_Q.id, "chosen"),
        *conditions,
    )
    first = (
        select(_Q.id)
        .where(_Q_WAITS, _Q.agent_id == lines.c.agent_id, _opaque(and_(*may_start)))
        .order_by(_Q.due_at, _Q.id)
        .limit(literal_column("1"))
        .correlate(lines)
        .scalar_subquery()
    )
    heads = select(first).where(
        lines.c.agent_id.is_not(None), _not_among(lines.c.agent_id, "agents")
    )
    moved_at = (
        select(func.max(_Q.started_at))
        .where(
            _Q.agent_id == _ROWS.agent_id,
            _HAS_BEGUN,
            _Q.started_at > _ROWS.due_at,
            tuple_(_Q.due_at, _Q.id) < tuple_(_ROWS.due_at, _ROWS.id),
        )
        .scalar_subquery()
    )
    return _JOBS.add_columns(moved_at).where(_Among(_ROWS.id, heads.scalar_subquery()))


_JOBS: Select[Any] = select(
    _ROWS.id,
    _ROWS.type,
    _ROWS.project_id,
    _ROWS.agent_id,
    _ROWS.thread_id,
    _ROWS.sandbox,
    _ROWS.resource_keys,
    _ROWS.due_at,
    _ROWS.host,
    _ROWS.host_labels,
    _ROWS.created_at,
)
#: Keys are in no index, and seldom waited for.
_BUT_FOR_KEYS = _not_among(_Q.project_id + literal_column("'\n'") + _Q.resource_keys, "keys")
_WITHIN_REACH = and_(
    or_(_Q.thread_id.is_not(None), _among(_Q.project_id, "reachable")),
    or_(
        _Q.host == bindparam("host"),
        and_(
            _Q.host.is_(None),
            _not_among(_Q.host_labels, "labels"),
            or_(
                _Q.created_at <= bindparam("left_since"),
                _not_among(_Q.project_id + literal_column("'\n'") + _Q.host_labels, "left"),
            ),
        ),
    ),
)
#: By whether there are keys to pass, and whether a host asks for what it can run.
_HEADS = {
    (False, False): _heads(),
    (True, False): _heads(_BUT_FOR_KEYS),
    (False, True): _heads(_WITHIN_REACH),
    (True, True): _heads(_BUT_FOR_KEYS, _WITHIN_REACH),
}
_IS_ACTIVE = and_(
    _ROWS.completed_at.is_(None),
    _that(IS_ACTIVE),
)
#: When its line moved is asked of heads only.
_OUT_OF_LINE = _JOBS.add_columns(literal_column("0").label("moved_at"))
_ACTIVE = _OUT_OF_LINE.where(_IS_ACTIVE)
_STEERING = _OUT_OF_LINE.where(_that("status = 'queued' AND type = 'steer_turn'"))
_COUNT = (
    select(func.count())
    .select_from(operations)
    .where(_ROWS.completed_at.is_(None), _that("status = 'queued'"))
)
_COUNT_BY_HOST = (
    select(_ROWS.host, func.count())
    .where(_ROWS.completed_at.is_(None), _that("status = 'queued'"), _ROWS.host.is_not(None))
    .group_by(_ROWS.host)
)
_COUNT_BEFORE = (
    select(func.count())
    .select_from(operations)
    .where(
        _WAITS,
        tuple_(_ROWS.due_at, _ROWS.id)
        < tuple_(bindparam("due", type_=_ROWS.due_at.type), bindparam("name", type_=_ROWS.id.type)),
    )
)
_FRONT = (
    select(_ROWS.id)
    .where(_WAITS)
    .order_by(_ROWS.due_at, _ROWS.id)
    .limit(bindparam("count", type_=Integer))
)
_UNWANTED = select(_ROWS.id).where(
    _that("status = 'queued'"),
    _Among(_ROWS.id, select(wishes.c.operation_id).where(WANTS_END).scalar_subquery()),
)
#: In one row at least: the epoch, who owns what is on a host, whether anything waits, and whether
#: somebody wants some of that to end; and in one each the turns that run, and the steering that
#: waits.
_JOBS_AT_ONCE = union_all(_ACTIVE.where(_that("type <> 'steer_turn'")), _STEERING).subquery()
_AT_ONCE = select(
    claim_epoch.c.number,
    select(func.max(workers.c.generation))
    .where(workers.c.host == bindparam("of"))
    .scalar_subquery(),
    select(_ROWS.id).where(_ROWS.completed_at.is_(None), _that("status = 'queued'")).exists(),
    _UNWANTED.exists(),
    _JOBS_AT_ONCE,
).select_from(claim_epoch.outerjoin(_JOBS_AT_ONCE, true()))

_SANDBOXES = {sandbox.value: sandbox for sandbox in Sandbox}
