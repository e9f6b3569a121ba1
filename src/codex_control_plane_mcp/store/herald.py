"""Tells other hosts of a transaction what they would act upon: wishes, and what may be started.

PostgreSQL wakes the connection of everybody who listens for each transaction that tells anything,
on whatever channel, so what nobody acts upon is not told. Who waits for what became of an operation
asks for that (`store.elsewhere`).

A wish, and work that is bound to a host, is told to that host. That something waits, or that slots
came free while it does, is told to a few that have room: those that have its project first, the
emptiest of them first, for others would leave it to them.
"""

from typing import TYPE_CHECKING

from sqlalchemy import text

from codex_control_plane_mcp.model.ids import HostId, OperationId
from codex_control_plane_mcp.store.bell import News, Subject
from codex_control_plane_mcp.store.editions import USABLE_FROM, check_usable, released
from codex_control_plane_mcp.store.hosts import CONNECTED, LOCKS
from codex_control_plane_mcp.store.rows import IS_ACTIVE

if TYPE_CHECKING:
    from codex_control_plane_mcp.store.book import Writing

#: What everybody hears; a host's own channel has its number behind.
CHANNEL = "codex_book"
#: PostgreSQL takes 7,999 bytes; who is told of more has to look for himself.
MAX_PAYLOAD_BYTES = 7_900
#: So many more hosts than there are tasks hear that something may be started: the first may be
#: about to take something else.
SPARE = 2

EVERYTHING = "*"
_LETTERS = {Subject.WISH: "w", Subject.QUEUE: "q", Subject.REPAIR: "r"}
_SUBJECTS = {letter: subject for subject, letter in _LETTERS.items()}


def channel_of(number: int) -> str:
    """Where only the host of this number listens."""
    return f"{CHANNEL}_{number}"


def tell(writing: "Writing", besides: HostId | None) -> None:
    """Have other hosts told of this transaction once it is committed; `besides` is the one that
    hears of it anyway. Raises Outdated: we may have been out of reach while the book became one
    that we cannot use."""
    connection = writing.connection
    news = frozenset(one for one in writing.news if one[0] in _LETTERS)
    if news:
        values = {
            "ids": sorted({id_ for subject, id_ in news if subject is not Subject.REPAIR}),
            "moved": sorted({id_ for subject, id_ in news if subject is Subject.QUEUE}),
            "everybody": any(subject is Subject.REPAIR for subject, _ in news),
            "besides": besides or "",
            "said": written(news),
            "channel": CHANNEL,
            "spare": SPARE,
            "locks": LOCKS,
        }
        check_usable(connection.execute(_TELL, values).one().usable_from, released())
    elif writing.news and not writing.is_usable:
        check_usable(connection.execute(USABLE_FROM).scalar_one(), released())


def written(news: News) -> str:
    """News as they are told."""
    told = ",".join(f"{_LETTERS[subject]}{id_}" for subject, id_ in sorted(news, key=str))
    return EVERYTHING if len(told) > MAX_PAYLOAD_BYTES else told


def read(told: str) -> News:
    """The news that were told so."""
    return frozenset((_SUBJECTS[one[0]], OperationId(one[1:])) for one in told.split(","))


_TELL = text(
    f"""WITH told AS MATERIALIZED (
        SELECT id, host, completed_at, project_id, host_labels
        FROM operations WHERE id = ANY(:ids)
    ), free AS MATERIALIZED (
        SELECT * FROM told WHERE id = ANY(:moved) AND (host IS NULL OR completed_at IS NOT NULL)
    ), turns AS (
        SELECT host, count(*) AS taken FROM operations
        WHERE completed_at IS NULL AND {IS_ACTIVE} AND type <> 'steer_turn'
        GROUP BY host
    ), roomy AS (
        SELECT hosts.id FROM hosts LEFT JOIN turns ON turns.host = hosts.id
        WHERE coalesce(taken, 0) < capacity AND hosts.id <> :besides
        AND EXISTS (SELECT FROM free)
        AND EXISTS (
            SELECT FROM operations WHERE completed_at IS NULL AND status = 'queued'
            AND (operations.host IS NULL OR operations.host = hosts.id)
        )
        AND number IN ({CONNECTED})
        ORDER BY EXISTS (
            SELECT FROM free JOIN host_projects USING (project_id)
            WHERE host_projects.host = hosts.id
            AND CAST(hosts.labels AS jsonb) @> CAST(free.host_labels AS jsonb)
        ) DESC, coalesce(taken, 0) * 1.0 / capacity, random()
        LIMIT :spare + (SELECT count(*) FROM free)
    ), channels AS (
        SELECT :channel || '_' || number AS name FROM hosts
        WHERE NOT :everybody AND id <> :besides AND (
            id IN (SELECT host FROM told WHERE completed_at IS NULL) OR id IN (SELECT id FROM roomy)
        )
        UNION ALL SELECT :channel WHERE :everybody
    )
    SELECT max(usable_from) AS usable_from,
        (SELECT count(pg_notify(name, :said)) FROM channels) AS hearers
    FROM edition"""  # noqa: S608
)
