"""The epoch of claims: who claims waits here for those who did, and sees whether there were any.

A decision about who may start holds for as long as nobody else has started anything and no other
worker has entered. Whatever else happens (an end, a new task) leaves slots free or makes none taken
twice. So it may be made before, by a reader; here it is confirmed.
"""

from sqlalchemy import Connection, select, update

from codex_control_plane_mcp.store.book import Writing
from codex_control_plane_mcp.store.schema import claim_epoch


def advance(writing: Writing) -> int:
    """Begin another epoch; until this transaction ends nobody else can. Returns the one before."""
    connection = writing.connection
    if connection.dialect.update_returning:
        # By the row as it is once who had it has ended, not as it was when we came.
        return int(connection.execute(_ADVANCE_AND_TELL).scalar_one()) - 1
    connection.execute(_ADVANCE)
    return present(connection) - 1


def present(connection: Connection) -> int:
    return int(connection.execute(_PRESENT).scalar_one())


_PRESENT = select(claim_epoch.c.number)
_ADVANCE = update(claim_epoch).values(number=claim_epoch.c.number + 1)
_ADVANCE_AND_TELL = _ADVANCE.returning(claim_epoch.c.number)
