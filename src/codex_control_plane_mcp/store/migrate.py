"""Brings a book to the present edition, one after the other, all or nothing.

Releases may be mixed for as long as the newest edition is usable by all of them. An edition that is
not ends that, so only a worker or a person applies it, and not while somebody is there who could
not go on.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, func, insert, inspect, select

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.errors import StateBusy
from codex_control_plane_mcp.store import hosts
from codex_control_plane_mcp.store.editions import Edition, check_usable, released
from codex_control_plane_mcp.store.schema import edition

_EDITION_TABLE = (
    "CREATE TABLE edition (number INTEGER NOT NULL PRIMARY KEY, applied_at BIGINT NOT NULL,"
    " usable_from INTEGER NOT NULL)"
)


def migrate(
    connection: Connection,
    at: Moment,
    *,
    may_break: bool = False,
    known: Sequence[Edition] | None = None,
) -> None:
    """Apply every edition that the book does not have yet, in the caller's transaction: one
    writer at a time, so that two that start together do it one after the other.

    `may_break`: also those that older releases cannot use. On one machine only who holds the worker
    lock may, or an older worker would be cut off; of a fleet it is looked at here who is there.

    Raises Outdated when the book was written by a later version of this program that this one
    cannot keep company, StateBusy when an edition may not be applied now, or by version 0.2.1.
    """
    known = released() if known is None else known
    present, usable_from = _present_edition(connection)
    check_usable(usable_from, known)
    for one in known:
        if one.number > present:
            if present and one.usable_from > usable_from:
                _check_may_break(connection, one, may_break=may_break)
            for statement in one.statements(connection.dialect.name):
                connection.exec_driver_sql(statement)
            values = {"number": one.number, "applied_at": at, "usable_from": one.usable_from}
            connection.execute(insert(edition).values(values))


def standing(connection: Connection) -> tuple[int, int]:
    """The newest edition that the book has, and the oldest whose code can use it."""
    newest = select(func.max(edition.c.number), func.max(edition.c.usable_from))
    number, usable_from = connection.execute(newest).one()
    return number or 0, usable_from or 0


def _check_may_break(connection: Connection, wanted: Edition, *, may_break: bool) -> None:
    """Raises StateBusy."""
    if not may_break:
        raise StateBusy(
            f"this release needs edition {wanted.number} of the state, which older ones cannot "
            "use: start the worker, or run `codex-control-plane-mcp-admin migrate`"
        )
    if connection.dialect.name == "postgresql":
        # Who enters the fleet from here on reads the edition after this transaction.
        connection.exec_driver_sql("LOCK TABLE edition IN ACCESS EXCLUSIVE MODE")
    older = hosts.present_before(connection, wanted.usable_from)
    if older:
        raise StateBusy(
            f"this release needs edition {wanted.number} of the state, which the release on these "
            f"hosts cannot use: {', '.join(older)}; end their workers first, or upgrade them "
            "together (their turns run on meanwhile)"
        )


def _present_edition(connection: Connection) -> tuple[int, int]:
    """Its `standing`, also of a book that is not there yet: 0."""
    tables = inspect(connection)
    if not tables.has_table("edition"):
        if tables.has_table("codex_operations"):
            # Its tables and ours would fit into one file, and nobody could tell what is whose.
            raise StateBusy(
                "the state was written by version 0.2.1, which keeps it in another form: name a "
                "new file in CODEX_MCP_STATE_DB, and have the history of this one brought over by "
                "`codex-control-plane-mcp-admin import-state`"
            )
        connection.exec_driver_sql(_EDITION_TABLE)
        return 0, 0
    return standing(connection)
