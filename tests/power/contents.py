"""Everything that the book holds, as plain data that can be compared and kept as JSON."""

from typing import Final, TypeAlias

from codex_control_plane_mcp.store.book import Reading
from codex_control_plane_mcp.store.schema import edition, metadata

#: By table, every row, by column.
Contents: TypeAlias = dict[str, list[dict[str, object]]]

#: `edition` says when this very file was made; nobody was told.
_TABLES: Final = [table for table in metadata.sorted_tables if table is not edition]
_QUERIES: Final = {
    table.name: f"SELECT * FROM {table.name} ORDER BY {', '.join(table.primary_key.columns.keys())}"  # noqa: S608
    for table in _TABLES
}
#: Of a book that nobody wrote to.
EMPTY: Final[Contents] = {table.name: [] for table in _TABLES}


def read_contents(reading: Reading) -> Contents:
    # Not built by SQLAlchemy: each book that is opened would compile it anew, for milliseconds.
    return {
        name: [dict(row) for row in reading.exec_driver_sql(query).mappings()]
        for name, query in _QUERIES.items()
    }
