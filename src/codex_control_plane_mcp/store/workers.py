"""Who owns what is on a host: each worker that takes over there gets the next generation."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, func, insert, select, update

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.model.ids import HERE, Generation, HostId
from codex_control_plane_mcp.store import epoch
from codex_control_plane_mcp.store.book import Writing
from codex_control_plane_mcp.store.schema import workers


@dataclass(frozen=True, slots=True)
class Worker:
    """One owner of the book, past or present."""

    id: str
    generation: Generation
    pid: int
    version: str
    started_at: Moment
    heartbeat_at: Moment
    left_at: Moment | None
    host: HostId = HERE


def enter(writing: Writing, worker_id: str, pid: int, version: str) -> Generation:
    """Become the owner: of what is on this host. Whoever was that before is fenced off now."""
    epoch.advance(writing)
    latest = writing.connection.scalar(select(func.max(workers.c.generation)))
    generation = Generation((latest or 0) + 1)
    writing.connection.execute(
        insert(workers).values(
            id=worker_id,
            generation=generation,
            pid=pid,
            version=version,
            started_at=writing.now,
            heartbeat_at=writing.now,
            host=writing.host,
        )
    )
    return generation


def beat(writing: Writing, generation: Generation) -> None:
    """Say that the worker of `generation` lives."""
    writing.connection.execute(
        update(workers).where(workers.c.generation == generation).values(heartbeat_at=writing.now)
    )


def leave(writing: Writing, generation: Generation) -> None:
    """Say that the worker of `generation` went in peace."""
    writing.connection.execute(
        update(workers)
        .where(workers.c.generation == generation)
        .values(heartbeat_at=writing.now, left_at=writing.now)
    )


def latest(connection: Connection, host: HostId = HERE) -> Worker | None:
    """The present owner on a host, or the last one if none is present."""
    row = connection.execute(_LATEST_OF, {"of": host}).mappings().one_or_none()
    return None if row is None else Worker(**row)


def newest_first(connection: Connection) -> Iterator[Worker]:
    """Every owner that the book has had, the latest first."""
    for row in connection.execute(_NEWEST_FIRST).mappings():
        yield Worker(**row)


_NEWEST_FIRST = select(workers).order_by(workers.c.generation.desc())
_LATEST_OF = _NEWEST_FIRST.where(workers.c.host == bindparam("of")).limit(1)
