"""Brings a book to the present edition, one numbered SQL file after the other, all or nothing.

The files are kept as they were released and never edited; a change to the tables is a new file.
"""

from importlib.resources import files

from sqlalchemy import Connection, insert, inspect, select

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.errors import StateBusy
from codex_control_plane_mcp.store.schema import edition

_EDITION_TABLE = (
    "CREATE TABLE edition (number INTEGER NOT NULL PRIMARY KEY, applied_at BIGINT NOT NULL)"
)


def migrate(connection: Connection, at: Moment) -> None:
    """Apply every edition that the book does not have yet, in the caller's transaction: one
    writer at a time, so that two that start together do it one after the other.

    Raises StateBusy when the book was written by a later version of this program, or by 0.2.1.
    """
    present = _present_edition(connection)
    known = _editions()
    if present > max(known):
        raise StateBusy(
            f"the state was written by a newer version of codex-control-plane-mcp (edition "
            f"{present}, this one knows {max(known)}): upgrade this installation, or name another "
            "state file in CODEX_MCP_STATE_DB"
        )
    for number in sorted(known):
        if number > present:
            for statement in _statements(known[number], connection.dialect.name):
                connection.exec_driver_sql(statement)
            connection.execute(insert(edition).values(number=number, applied_at=at))


def _present_edition(connection: Connection) -> int:
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
        return 0
    return max(connection.scalars(select(edition.c.number)), default=0)


def _editions() -> dict[int, str]:
    folder = files("codex_control_plane_mcp.store") / "migrations"
    return {
        int(file.name.partition("_")[0]): file.read_text(encoding="utf-8")
        for file in folder.iterdir()
        if file.name.endswith(".sql")
    }


def _statements(text: str, dialect: str) -> list[str]:
    """The statements of one file. `/*sqlite ... */` is for SQLite only; no literal holds `;`."""
    if dialect == "sqlite":
        text = text.replace("/*sqlite", "").replace("*/", "")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    return [part.strip() for part in "\n".join(lines).split(";") if part.strip()]
