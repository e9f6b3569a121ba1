"""The queue as the book has it: what waits, what runs, and what a worker may take.

Who starts is decided in `model.schedule`; here is what it asks. However many wait, only the heads
of the agents' lines are read: SQL passes those who could not start, before it takes the first.
"""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Integer,
    Select,
    and_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    tuple_,
)

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.model.ids import Generation, HostId, OperationId
from codex_control_plane_mcp.model.operation import ACTIVE, Claimed, Operation
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
from codex_control_plane_mcp.store.book import Writing
from codex_control_plane_mcp.store.operations import many, must_own, record
from codex_control_plane_mcp.store.schema import operations, wishes


def claim(
    writing: Writing, generation: Generation, limits: Limits, reach: Reach | None = None
) -> list[Operation]:
    """Take from the queue what may start now, for the worker of `generation`: as it is then, in
    the order in which it was its turn. `reach` is what its host can run, if not everything.

    Raises Replaced when another worker of its host owns that by now.
    """
    must_own(writing, generation)
    startable_now = startable(writing.connection, limits, writing.now, reach)
    return [
        record(writing, operation, _claimed(generation, writing, operation, reach))
        for operation in many(writing.connection, startable_now)
    ]


def _claimed(
    generation: Generation, writing: Writing, operation: Operation, reach: Reach | None
) -> Claimed:
    request = operation.request
    checkout = None if reach is None else reach.checkout(request.project_id, request.cwd)
    return Claimed(generation, writing.host, checkout)


def startable(
    connection: Connection, limits: Limits, now: Moment, reach: Reach | None = None
) -> list[OperationId]:
    """What may start now within a reach, in the order in which it is its turn."""
    active = active_jobs(connection)
    if reach is None:
        steering = connection.scalars(_STEERING).all()
    else:
        steering = connection.scalars(_STEERING_AT, {"host": reach.host}).all()
    return [*steering, *_decide(connection, active, limits, now, reach).start]


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
    return [_job(row) for row in connection.execute(_ACTIVE)]


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
        return [_job(row) for row in connection.execute(statement, values)]

    return decide(heads, active, limits, now, reach)


def _job(row: Sequence[Any]) -> Job:
    id_, kind, project_id, agent_id, thread_id, sandbox, keys, due, host, labels, came, moved = row
    return Job(
        id=id_,
        project_id=project_id,
        agent=agent_id,
        thread_id=thread_id,
        sandbox=_SANDBOXES[sandbox],
        resource_keys=tuple(json.loads(keys)),
        due_at=due,
        line_moved_at=moved or NEVER,
        takes_turn=kind != OperationType.STEER_TURN.value,
        host=host,
        labels=tuple(json.loads(labels)),
        created_at=came,
    )


# --- Statements --------------------------------------------------------------------------------
# Partial indexes are used only when their condition stands in the query to the letter.

_ROWS = operations.c
#: Once more, for what is asked about each of some rows.
_Q = operations.alias("q").c


def _that(condition: str) -> ColumnElement[bool]:
    return literal_column(condition)


def _among(name: str) -> BindParameter[Any]:
    return bindparam(name, expanding=True)


_WAITS = _that("status = 'queued' AND type <> 'steer_turn'")
_HAS_BEGUN = _that("q.started_at IS NOT NULL AND q.type <> 'steer_turn'")


def _heads(*conditions: ColumnElement[bool]) -> Select[Any]:
    """Of each agent's line the first that need not be passed and meets these conditions."""
    lines = select(_ROWS.agent_id).where(_WAITS).distinct().cte("lines")
    first = (
        select(_Q.id)
        .where(
            _that("q.status = 'queued' AND q.type <> 'steer_turn'"),
            _Q.agent_id == lines.c.agent_id,
            _Q.project_id.not_in(_among("projects")),
            or_(_Q.thread_id.is_(None), _Q.thread_id.not_in(_among("threads"))),
            or_(_that("q.sandbox = 'read-only'"), _Q.project_id.not_in(_among("written_projects"))),
            _Q.id.not_in(_among("chosen")),
            *conditions,
        )
        .order_by(_Q.due_at, _Q.id)
        .limit(literal_column("1"))
        .correlate(lines)
        .scalar_subquery()
    )
    heads = select(first).where(lines.c.agent_id.not_in(_among("agents")))
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
    return _JOBS.add_columns(moved_at).where(_ROWS.id.in_(heads))


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
_BUT_FOR_KEYS = (_Q.project_id + literal_column("'\n'") + _Q.resource_keys).not_in(_among("keys"))
_WITHIN_REACH = and_(
    or_(_Q.thread_id.is_not(None), _Q.project_id.in_(_among("reachable"))),
    or_(
        _Q.host == bindparam("host"),
        and_(
            _Q.host.is_(None),
            _Q.host_labels.not_in(_among("labels")),
            or_(
                _Q.created_at <= bindparam("left_since"),
                (_Q.project_id + literal_column("'\n'") + _Q.host_labels).not_in(_among("left")),
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
_STEERING = (
    select(_ROWS.id)
    .where(_that("status = 'queued' AND type = 'steer_turn'"))
    .order_by(_ROWS.due_at, _ROWS.id)
)
_STEERING_AT = _STEERING.where(_ROWS.host == bindparam("host"))
_ACTIVE = _JOBS.add_columns(literal_column("0")).where(
    _ROWS.completed_at.is_(None),
    _that(f"status IN ({', '.join(repr(status.value) for status in sorted(ACTIVE))})"),
)
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
    _ROWS.id.in_(
        select(wishes.c.operation_id).where(
            wishes.c.done_at.is_(None), wishes.c.kind == literal_column("'cancel'")
        )
    ),
)

_SANDBOXES = {sandbox.value: sandbox for sandbox in Sandbox}
