"""What other hosts wrote down of an operation: asked for while somebody waits for it here.

To tell every host of every fact would cost the square of their number. So nobody is told; who waits
asks, with one statement for all that is waited for.
"""

import logging
from collections.abc import Collection
from functools import partial
from typing import TypeAlias

import anyio
from sqlalchemy import Connection, text

from codex_control_plane_mcp.clock import Moment, later
from codex_control_plane_mcp.errors import StateBusy
from codex_control_plane_mcp.model.ids import OperationId
from codex_control_plane_mcp.model.operation import FINAL
from codex_control_plane_mcp.store.bell import Subject
from codex_control_plane_mcp.store.book import Book
from codex_control_plane_mcp.store.hosts import LOST_SINCE, lost_if

logger = logging.getLogger(__name__)

#: Between two questions; with less than this somebody hears later of what another host wrote.
ASK_SECONDS = 0.5
#: Clocks of hosts differ, and a commit comes after the moment that it bears.
SLACK_SECONDS = 60

#: Another one: something was written.
Mark: TypeAlias = tuple[object, ...]


async def follow(book: Book) -> None:
    """Ring the bell for what others write of the operations that somebody waits for here."""
    known: dict[OperationId, Mark] = {}
    while True:
        ids, of_all = await book.bell.awaited()
        await anyio.sleep(ASK_SECONDS)
        try:
            marks = await book.read(partial(_marks, ids=ids, of_all=of_all, now=book.now()))
        except StateBusy as error:
            logger.info("what other hosts write is not heard for now: %s", error)
            continue
        # Of what nobody waited for so far, something may have been written since it was read.
        news = frozenset(
            (Subject.FACT, id_) for id_, mark in marks.items() if known.get(id_) != mark
        )
        known = marks
        book.bell.ring(news)


def recent(connection: Connection, since: Moment) -> dict[OperationId, int]:
    """How far the journals have come of all operations of which something may have been written
    since then."""
    values = {"since": later(since, -SLACK_SECONDS), "final": sorted(FINAL)}
    rows = connection.execute(_RECENT, values)
    return {OperationId(row.id): row.last_seq for row in rows}


def _marks(
    connection: Connection, ids: Collection[OperationId], of_all: bool, now: Moment
) -> dict[OperationId, Mark]:
    wanted = {*ids, *(recent(connection, now) if of_all else ())}
    return {
        OperationId(id_): tuple(mark)
        for id_, *mark in connection.execute(_MARKS, {"ids": sorted(wanted), **lost_if(now)})
    }


#: A question or a wish is opened and closed without a word in the journal; a plan is approved in
#: its workflow; of a host that is lost nobody writes anything.
_MARKS = text(
    f"""SELECT operations.id, operations.last_seq, operations.updated_at, workflows.updated_at,
        (SELECT count(*) FROM interactions WHERE operation_id = operations.id),
        (SELECT count(*) FROM interactions
            WHERE operation_id = operations.id AND closed_at IS NULL),
        (SELECT count(*) FROM wishes WHERE operation_id = operations.id AND done_at IS NULL),
        {LOST_SINCE}
    FROM operations LEFT JOIN workflows ON workflows.id = operations.workflow_id
    WHERE operations.id = ANY(:ids)"""  # noqa: S608
)
_RECENT = text(
    """SELECT id, last_seq FROM operations
    WHERE completed_at IS NULL AND (status <> 'queued' OR created_at >= :since)
    UNION ALL SELECT id, last_seq FROM operations
    WHERE completed_at >= :since AND completed_at IS NOT NULL AND status = ANY(:final)"""
)
