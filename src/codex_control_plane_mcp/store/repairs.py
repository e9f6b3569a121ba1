"""What somebody wants mended: the desk makes the wish, the workshop carries it out and says what
came of it. Nothing is taken away again: how often the same was done counts.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, literal_column, select, update

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.model.ids import HostId, RepairId
from codex_control_plane_mcp.model.repair import (
    Action,
    Change,
    Outcome,
    RepairRun,
    RepairScope,
)
from codex_control_plane_mcp.store.bell import Subject
from codex_control_plane_mcp.store.book import Writing
from codex_control_plane_mcp.store.operations import clean
from codex_control_plane_mcp.store.schema import repairs


def wish_repair(writing: Writing, run: RepairRun) -> None:
    """Store that somebody wants something mended."""
    writing.connection.execute(
        _INSERT,
        {
            "id": run.id,
            "action": run.action.value,
            "scope": _scope_to_json(run.scope),
            "dry_run": int(run.dry_run),
            "force": int(run.force),
            "made_by": run.made_by,
            "created_at": writing.now,
            "changes": "[]",
            "host": writing.host,
            "plan_id": run.plan_id,
        },
    )
    writing.tell(run.id, Subject.REPAIR)


def conclude(
    writing: Writing,
    repair_id: RepairId,
    outcome: Outcome,
    changes: Sequence[Change],
    result: str,
) -> None:
    """Say what came of a repair."""
    writing.connection.execute(
        _CONCLUDE,
        {
            "repair": repair_id,
            "done_at": writing.now,
            "outcome": outcome.value,
            "changes": json.dumps([asdict(one) for one in changes]),
            "result": clean(result),
        },
    )
    writing.tell(repair_id, Subject.REPAIR)


def get(connection: Connection, repair_id: RepairId) -> RepairRun | None:
    row = connection.execute(_BY_ID, {"repair": repair_id}).one_or_none()
    return None if row is None else _run(row)


def open_runs(connection: Connection, host: HostId) -> list[RepairRun]:
    """Those that a host was asked for and nothing has come of yet, oldest first."""
    return [_run(row) for row in connection.execute(_OPEN, {"at": host})]


def done_before(connection: Connection, run: RepairRun, limit: int) -> list[RepairRun]:
    """When the same was last really done, or begun: newest first."""
    rows = connection.execute(
        _SAME,
        {"action": run.action.value, "scope": _scope_to_json(run.scope), "most": limit},
    )
    return [_run(row) for row in rows]


def newest(connection: Connection, limit: int) -> list[RepairRun]:
    """The last ones, newest first."""
    return [_run(row) for row in connection.execute(_NEWEST.limit(limit))]


def _run(row: Row[Any]) -> RepairRun:
    return RepairRun(
        id=RepairId(row.id),
        action=Action(row.action),
        scope=RepairScope(**json.loads(row.scope)),
        dry_run=bool(row.dry_run),
        force=bool(row.force),
        made_by=row.made_by,
        created_at=Moment(row.created_at),
        plan_id=row.plan_id,
        done_at=row.done_at,
        outcome=None if row.outcome is None else Outcome(row.outcome),
        changes=tuple(Change(**one) for one in json.loads(row.changes)),
        result=row.result,
    )


def _scope_to_json(scope: RepairScope) -> str:
    return json.dumps(asdict(scope), sort_keys=True)


# --- Statements, made once -----------------------------------------------------------------------

_OF_REPAIR = repairs.c.id == bindparam("repair")
_NOT_DONE = repairs.c.done_at.is_(None)

_INSERT = insert(repairs)
_CONCLUDE = update(repairs).where(_OF_REPAIR, _NOT_DONE)
_BY_ID = select(repairs).where(_OF_REPAIR)
_OPEN = (
    select(repairs)
    .where(_NOT_DONE, repairs.c.host == bindparam("at"))
    .order_by(repairs.c.created_at, repairs.c.id)
)
_NEWEST = select(repairs).order_by(repairs.c.created_at.desc(), repairs.c.id.desc())
_SAME = _NEWEST.where(
    repairs.c.action == bindparam("action"),
    repairs.c.scope == bindparam("scope"),
    literal_column("outcome IN ('applied', 'failed', 'unknown')"),
).limit(bindparam("most"))
