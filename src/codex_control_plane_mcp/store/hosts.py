"""The hosts of a fleet: who they are, what they have, and which of them are there.

A host is one Codex home with its worker. It is there for as long as its worker holds the lock that
bears its number: the server lets go of it when that connection ends, and not before.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Connection, bindparam, delete, func, insert, select, text, update

from codex_control_plane_mcp.clock import Moment, later
from codex_control_plane_mcp.errors import StateBusy
from codex_control_plane_mcp.model.ids import HostId, OperationId, ProjectId
from codex_control_plane_mcp.model.schedule import Job, Reach, unplaced
from codex_control_plane_mcp.store.editions import released
from codex_control_plane_mcp.store.rows import IS_ACTIVE
from codex_control_plane_mcp.store.schema import host_projects, hosts, workers

if TYPE_CHECKING:
    from codex_control_plane_mcp.store.book import Writing

#: Names the locks of hosts among PostgreSQL's advisory locks.
LOCKS = 0x636F6470
#: Who is not connected and has said nothing for so long is lost. It says every 20 seconds that it
#: lives; a worker that is started anew is away for less.
LOST_SECONDS = 45


@dataclass(frozen=True, slots=True)
class Card:
    """What a host says of itself."""

    #: Drawn once and kept beside its state: tells it from another one of the same name.
    home_id: str
    codex_home: str
    #: How many turns it may have at once.
    capacity: int
    #: What a task may ask for.
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Project:
    """A project that a host has, by the id that it may be asked for."""

    id: ProjectId
    #: Where the host has it.
    path: str
    #: Where its repository comes from, if it is one.
    remote: str | None = None


@dataclass(frozen=True, slots=True)
class Host:
    """One host of the fleet."""

    id: HostId
    number: int
    card: Card
    codex_version: str | None
    #: The release of its latest worker; None before that has written anything.
    worker_version: str | None
    entered_at: Moment
    #: When it last said that it lives, or that it leaves.
    seen_at: Moment
    #: Whether its worker is connected now.
    is_there: bool


def enrol(writing: "Writing", card: Card) -> int:
    """Enter the fleet as `writing.host`, or come back. Returns the number of its lock.

    Raises StateBusy when the name is another host's.
    """
    connection, id_ = writing.connection, writing.host
    of_home = connection.execute(select(hosts).where(hosts.c.home_id == card.home_id)).one_or_none()
    known = connection.execute(select(hosts).where(hosts.c.id == id_)).one_or_none()
    is_ours = known is not None and known.home_id == card.home_id
    if known is not None and known.forgotten_at is None and not is_ours:
        raise StateBusy(
            f"the fleet knows another host by the name of {id_}, with its Codex home at "
            f"{known.codex_home}; give this one a name of its own in CODEX_MCP_HOST, or if that "
            f"one is gone for good: codex-control-plane-mcp-admin forget-host {id_}"
        )
    if of_home is not None and of_home.id != id_:
        raise StateBusy(
            f"this state is that of the host {of_home.id}, whose threads it has; set "
            f"CODEX_MCP_HOST to {of_home.id}, or name another state in CODEX_MCP_STATE_DB"
        )
    values = {
        "codex_home": card.codex_home,
        "capacity": card.capacity,
        "labels": json.dumps(card.labels),
        "entered_at": writing.now,
        "heard_at": writing.now,
        "edition": released()[-1].number,
        "forgotten_at": None,
    }
    if known is not None and is_ours:
        if known.codex_home != card.codex_home:
            raise StateBusy(
                f"the host {id_} has its threads in {known.codex_home}, and CODEX_HOME is "
                f"{card.codex_home}; a Codex home is a host of its own, with a state of its own"
            )
        connection.execute(update(hosts).where(hosts.c.id == id_).values(values))
        return int(known.number)
    number = (connection.scalar(select(func.max(hosts.c.number))) or 0) + 1
    values |= {"number": number, "home_id": card.home_id, "codex_version": None}
    if known is None:
        connection.execute(insert(hosts).values({**values, "id": id_}))
    else:  # The name of one that was forgotten. Its number is not for us: it may want its lock.
        connection.execute(update(hosts).where(hosts.c.id == id_).values(values))
    return number


def stand_in(writing: "Writing", number: int) -> bool:
    """Keep the host of this number from coming until this transaction ends; False where it is
    there."""
    return bool(writing.connection.scalar(_TRY_LOCK, {"locks": LOCKS, "number": number}))


def forget(writing: "Writing", id_: HostId) -> None:
    """Take a host off the list, until it comes back.

    Its row stays, and so do the generations that it had: neither its number nor one of those is
    ever given anew, for a worker of it may live on somewhere and come back with them.
    """
    connection = writing.connection
    connection.execute(delete(host_projects).where(host_projects.c.host == id_))
    connection.execute(update(hosts).where(hosts.c.id == id_).values(forgotten_at=writing.now))


def hear(writing: "Writing", codex_version: str | None, projects: Collection[Project]) -> None:
    """Note that the host lives, which Codex and which projects it has."""
    connection = writing.connection
    values: dict[str, object] = {"heard_at": writing.now}
    if codex_version is not None:
        values["codex_version"] = codex_version
    connection.execute(update(hosts).where(hosts.c.id == writing.host).values(values))
    connection.execute(delete(host_projects).where(host_projects.c.host == writing.host))
    if projects:
        connection.execute(
            insert(host_projects),
            [
                {
                    "host": writing.host,
                    "project_id": one.id,
                    "path": one.path,
                    "remote": one.remote,
                }
                for one in projects
            ],
        )


def present(connection: Connection) -> frozenset[HostId]:
    """The hosts whose workers are connected now."""
    return frozenset(connection.scalars(_PRESENT, {"locks": LOCKS}))


def lost_if(now: Moment) -> dict[str, object]:
    """The values of `LOST_SINCE`."""
    return {"locks": LOCKS, "heard_before": later(now, -LOST_SECONDS)}


def present_before(connection: Connection, edition: int) -> list[HostId]:
    """The hosts whose workers are connected now and do not know that edition of the book."""
    older = connection.scalars(select(hosts.c.id).where(hosts.c.edition < edition)).all()
    return sorted(present(connection).intersection(older)) if older else []


def every(connection: Connection) -> list[Host]:
    """All hosts that were not forgotten, by name; none where there is no fleet."""
    rows = connection.execute(_EVERY).all()
    there = present(connection) if rows else frozenset()
    return [
        Host(
            id=row.id,
            number=row.number,
            card=Card(row.home_id, row.codex_home, row.capacity, tuple(json.loads(row.labels))),
            codex_version=row.codex_version,
            worker_version=row.version,
            entered_at=row.entered_at,
            seen_at=max(row.heard_at, row.heartbeat_at or 0),
            is_there=row.id in there,
        )
        for row in rows
    ]


def reaches(connection: Connection) -> list[Reach]:
    """What each host can run, by its own word, whether it is connected or not."""
    projects: defaultdict[str, set[str]] = defaultdict(set)
    for row in connection.execute(_HAD):
        projects[row.host].add(row.project_id)
    return [
        Reach(row.id, frozenset(projects[row.id]), row.capacity, frozenset(json.loads(row.labels)))
        for row in connection.execute(_LISTED)
    ]


def others(connection: Connection, besides: HostId) -> tuple[Reach, ...]:
    """What each of the other hosts that are connected can run."""
    rows = connection.execute(_OTHERS, {"besides": besides, "locks": LOCKS})
    return tuple(
        Reach(row.id, frozenset(row.projects), row.capacity, frozenset(json.loads(row.labels)))
        for row in rows
    )


def with_remotes(connection: Connection, besides: HostId) -> list[Project]:
    """The projects of other hosts that are repositories from elsewhere."""
    rows = connection.execute(_FROM_ELSEWHERE, {"host": besides})
    return [Project(row.project_id, row.path, row.remote) for row in rows]


def absences(
    connection: Connection,
    jobs: Collection[Job],
    active_in: Callable[[Connection], Collection[Job]],
) -> dict[OperationId, str]:
    """Of queued operations those for which no host is there, or has room: which host that would
    have to be. None where there is no fleet, and `active_in`, what runs, is not asked for."""
    if not jobs or connection.scalar(_IS_FLEET) is None:
        return {}
    fleet, there, active = reaches(connection), present(connection), active_in(connection)
    found = {job.id: unplaced(job, fleet, there, active) for job in jobs}
    return {id_: reason for id_, reason in found.items() if reason is not None}


#: The numbers of the hosts that are connected; `:locks` is `LOCKS`.
CONNECTED = """SELECT CAST(objid AS bigint) FROM pg_locks
    WHERE locktype = 'advisory' AND classid = :locks AND objsubid = 2 AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
#: Of a row of operations that is in a host's hands: since when that host is lost. Its values are
#: those of `lost_if`. Who is connected is asked only where a host is silent.
LOST_SINCE = f"""CASE WHEN operations.{IS_ACTIVE} THEN (
        SELECT heard_at FROM hosts WHERE hosts.id = operations.host
        AND heard_at < :heard_before AND number NOT IN ({CONNECTED})
    ) END"""  # noqa: S608
_PRESENT = text(f"SELECT id FROM hosts WHERE number IN ({CONNECTED})")  # noqa: S608
_OTHERS = text(
    f"""SELECT id, capacity, labels,
        ARRAY(SELECT project_id FROM host_projects WHERE host = hosts.id) AS projects
    FROM hosts WHERE id <> :besides AND number IN ({CONNECTED})
    ORDER BY id"""  # noqa: S608
)
_IS_LISTED = hosts.c.forgotten_at.is_(None)
_LISTED = select(hosts).where(_IS_LISTED).order_by(hosts.c.id)
_EVERY = (
    select(hosts, workers.c.version, workers.c.heartbeat_at)
    .where(_IS_LISTED)
    .outerjoin(
        workers,
        workers.c.generation
        == select(func.max(workers.c.generation).label("latest"))
        .where(workers.c.host == hosts.c.id)
        .correlate(hosts)
        .scalar_subquery(),
    )
    .order_by(hosts.c.id)
)
_IS_FLEET = select(hosts.c.id).limit(1)
_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(CAST(:locks AS int), CAST(:number AS int))")
_HAD = select(host_projects.c.host, host_projects.c.project_id)
_FROM_ELSEWHERE = select(
    host_projects.c.project_id, host_projects.c.path, host_projects.c.remote
).where(host_projects.c.remote.is_not(None), host_projects.c.host != bindparam("host"))
