"""Hosts of a fleet as those find them who look into its book: on record, and some of them there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from codex_control_plane_mcp.model.ids import HostId
from codex_control_plane_mcp.store import hosts, workers
from codex_control_plane_mcp.store.book import Book, Writing
from codex_control_plane_mcp.store.engine import connect_postgres


def enrolled(
    book: Book, name: str, *, capacity: int = 4, codex: str = "0.163.0", release: str = "0.3.0"
) -> int:
    """A host that was in the fleet a moment ago; the number of its lock."""

    def enrol(writing: Writing) -> int:
        there = replace(writing, host=HostId(name))
        number = hosts.enrol(there, hosts.Card(f"mark of {name}", f"/homes/{name}", capacity))
        hosts.hear(there, codex, {})
        workers.enter(there, f"worker of {name}", 4711 + number, release)
        return number

    return book.write_now(enrol)[0]


@contextmanager
def there(url: str, *numbers: int) -> Iterator[None]:
    """The hosts of these numbers are connected for as long as this lasts."""
    with connect_postgres(url, autocommit=True) as connection:
        for number in numbers:
            taken = connection.execute("SELECT pg_try_advisory_lock(%s, %s)", (hosts.LOCKS, number))
            assert taken.fetchone() == (True,)
        yield
        # The server ends a connection only a moment after it was closed.
        connection.execute("SELECT pg_advisory_unlock_all()")
