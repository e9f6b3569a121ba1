"""The book: transactions over the database, and a bell after each commit.

One writes at a time, with the pen, so that what it has read is so until it ends. On PostgreSQL
those need no pen whose first statement is one that only one of them gets past: what is written of
an operation begins with the UPDATE of its row as its owner last saw it, and a claim with the epoch.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread
from sqlalchemy import Connection, Engine

from codex_control_plane_mcp.clock import Clock, Moment, SystemClock
from codex_control_plane_mcp.model.ids import HERE, HostId, OperationId, RepairId
from codex_control_plane_mcp.model.interaction import Interaction
from codex_control_plane_mcp.model.operation import Operation
from codex_control_plane_mcp.store.bell import Bell, News, Subject
from codex_control_plane_mcp.store.engine import (
    HANDS,
    LOCK_WAIT_SECONDS,
    READERS,
    open_postgres,
    open_sqlite,
    translated,
    without_pen,
)
from codex_control_plane_mcp.store.herald import tell
from codex_control_plane_mcp.store.migrate import migrate

T = TypeVar("T")

#: One consistent view of the book, by a name that those may use who know no SQL.
Reading: TypeAlias = Connection


class Outbox(Protocol):
    """Puts what a person is to be told of a fact beside it, in its transaction."""

    def ended(self, writing: "Writing", operation: Operation) -> None: ...

    def opened(self, writing: "Writing", interaction: Interaction) -> None: ...


@dataclass(slots=True)
class Writing:
    """One write transaction. What it changes is told to the bell once it is committed."""

    connection: Connection
    now: Moment
    #: Where the writer is.
    host: HostId = HERE
    #: None: nobody is to be told anything.
    outbox: Outbox | None = None
    news: set[tuple[Subject, OperationId | RepairId]] = field(default_factory=set)
    #: Whether what was written proves that this release can use the book.
    is_usable: bool = False

    def tell(self, operation_id: OperationId | RepairId, *subjects: Subject) -> None:
        """Have the bell rung for an operation, or a repair."""
        self.news.update((subject, operation_id) for subject in subjects)


class Book:
    """Runs plain functions of a transaction, in threads, or inline where time is virtual.

    Nothing awaits inside a transaction. A function that raises leaves no trace.
    """

    def __init__(
        self,
        writer: Engine,
        reader: Engine,
        *,
        clock: Clock | None = None,
        threads: bool = True,
        host: HostId = HERE,
        outbox: Outbox | None = None,
    ) -> None:
        self.host = host
        self.bell = Bell()
        #: Tells other processes, within the transaction, what it changes.
        self.herald: Callable[[Writing], None] | None = None
        self._writer = writer
        self._beside = without_pen(writer)
        self._reader = reader
        self._clock = clock or SystemClock()
        self._threads = threads
        self._outbox = outbox
        #: Whether other hosts write it, too.
        self.is_shared = writer.dialect.name == "postgresql"
        self._pen = anyio.CapacityLimiter(1)
        self._hands = anyio.CapacityLimiter(HANDS) if self.is_shared else self._pen
        self._patience = anyio.CapacityLimiter(1)
        # SQLite: for writers that are threads of their own and do not queue for the pen.
        self._lock: AbstractContextManager[object] = (
            nullcontext() if self.is_shared else threading.Lock()
        )
        self._eyes = anyio.CapacityLimiter(READERS)

    async def write(
        self, work: Callable[[Writing], T], *, pen: bool = True, patient: bool = False
    ) -> T:
        """Run `work` in one durable transaction; when this returns it is on the disk.

        Without the `pen` others may write at the same time, where the database can do that. Who is
        `patient` lets all others go first: of those only one at a time stands in line.

        Raises StateBusy when the database is locked, full, read-only or damaged.
        """
        async with self._patience if patient else nullcontext():
            result, news = await self._run(
                self._pen if pen else self._hands, lambda: self.write_now(work, pen=pen)
            )
        if news:
            self.bell.ring(news)
        return result

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` over one consistent view of the book. It cannot write."""
        return await self._run(self._eyes, lambda: self.read_now(work))

    async def glance(self, work: Callable[[Connection], T]) -> T:
        """`read` for what finds a few rows by their keys. In a file that takes a fraction of a
        millisecond, so it is done on the spot: on a busy machine a thread comes back later than
        that. A server is asked in a thread."""
        if self.is_shared:
            return await self.read(work)
        await anyio.lowlevel.checkpoint()
        return self.read_now(work)

    @translated()
    def write_now(self, work: Callable[[Writing], T], *, pen: bool = True) -> tuple[T, News]:
        """`write` for a caller without an event loop; the bell is left to the caller."""
        with self._lock, (self._writer if pen else self._beside).begin() as connection:
            writing = Writing(connection, self._clock.now(), self.host, self._outbox)
            result = work(writing)
            if self.herald is not None:
                self.herald(writing)
        return result, frozenset(writing.news)

    def now(self) -> Moment:
        """What time it is for those who write in it."""
        return self._clock.now()

    def close(self) -> None:
        self._reader.dispose()
        self._writer.dispose()

    @translated()
    def read_now(self, work: Callable[[Connection], T]) -> T:
        """`read` for a caller without an event loop."""
        with self._reader.begin() as connection:
            return work(connection)

    async def _run(self, limiter: anyio.CapacityLimiter, call: Callable[[], T]) -> T:
        if not self._threads:
            await anyio.lowlevel.checkpoint()
            return call()
        # Not abandoned when cancelled: a commit cannot be taken back, so its end is awaited.
        return await anyio.to_thread.run_sync(call, limiter=limiter)


@contextmanager
def opened(
    where: Path | str,
    *,
    clock: Clock | None = None,
    threads: bool = True,
    lock_wait_seconds: float = LOCK_WAIT_SECONDS,
    make: Callable[[Engine, Engine], Book] | None = None,
    host: HostId = HERE,
    outbox: Outbox | None = None,
    may_break: bool = False,
) -> Iterator[Book]:
    """The book at `where`: the path of an SQLite file, or a PostgreSQL URL. Made or brought to the
    present edition first; `may_break` is `migrate`'s. `make` makes it of its engines, if not the
    usual way."""
    if isinstance(where, str):
        engines = open_postgres(where, lock_wait_seconds)
    else:
        engines = open_sqlite(where, lock_wait_seconds)
    book = (
        make(*engines)
        if make
        else Book(*engines, clock=clock, threads=threads, host=host, outbox=outbox)
    )
    try:
        book.write_now(
            lambda writing: migrate(writing.connection, writing.now, may_break=may_break)
        )
        if isinstance(where, str) and book.herald is None:
            book.herald = partial(tell, besides=None)
        yield book
    finally:
        book.close()
