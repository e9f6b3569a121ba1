"""Copies a whole book into another database, and proves that nothing is missing there."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, func, insert, select

from codex_control_plane_mcp.errors import InvalidArgument, StateBusy
from codex_control_plane_mcp.model.ids import HERE
from codex_control_plane_mcp.store.book import Book, Writing
from codex_control_plane_mcp.store.schema import metadata

#: What makes a book, each table after those that it refers to.
_ORDER = (
    "operations",
    "journal",
    "interactions",
    "wishes",
    "repeats",
    "workflows",
    "workers",
    "hook_history",
    "repairs",
    "notices",
)
_ROWS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Copied:
    """One table that is in both books, row for row."""

    table: str
    rows: int
    digest: str


def tables() -> list[Table]:
    """Everything that is copied, in order."""
    return [metadata.tables[name] for name in _ORDER]


def copy(source: Book, target: Book) -> list[Copied]:
    """Copy in one transaction; what ran here has run on the host of `target`.

    Leaves no trace where it raises: InvalidArgument, for the target is not empty, or StateBusy,
    for it is not the same afterwards.
    """

    def work(writing: Writing) -> list[Copied]:
        return source.read_now(lambda reading: _copy(reading, writing))

    return target.write_now(work)[0]


def _copy(reading: Connection, writing: Writing) -> list[Copied]:
    for table in tables():
        if writing.connection.scalar(select(func.count()).select_from(table)):
            raise InvalidArgument(
                f"the target is not empty ({table.name}): name a new database, for two books "
                "cannot become one"
            )
    copied = []
    for table in tables():
        there = _digest(_as_moved(reading, table, writing.host))
        rows: list[dict[str, Any]] = []
        for row in _as_moved(reading, table, writing.host):
            rows.append(row)
            if len(rows) == _ROWS_AT_ONCE:
                writing.connection.execute(insert(table), rows)
                rows.clear()
        if rows:
            writing.connection.execute(insert(table), rows)
        here = _digest(_rows(writing.connection, table))
        if here != there:
            raise StateBusy(f"{table.name} differs after it was copied: {there} became {here}")
        copied.append(Copied(table.name, *here))
    return copied


def _rows(connection: Connection, table: Table) -> Iterator[dict[str, Any]]:
    query = select(table).order_by(*table.primary_key.columns)
    for row in connection.execute(query.execution_options(stream_results=True)).mappings():
        yield dict(row)


def _as_moved(connection: Connection, table: Table, host: str) -> Iterator[dict[str, Any]]:
    """The rows as they are to be: the one host that there was has a name now."""
    for row in _rows(connection, table):
        yield row | {"host": host} if row.get("host") == HERE else row


def _digest(rows: Iterator[dict[str, Any]]) -> tuple[int, str]:
    """How many, and a hash of them all: as a set, for databases sort text in different orders."""
    count, total = 0, 0
    for row in rows:
        count += 1
        line = json.dumps(row, sort_keys=True).encode()
        total += int.from_bytes(hashlib.sha256(line).digest(), "big")
    return count, f"{total % 2**256:064x}"
