"""A host's presence in its fleet: one connection to PostgreSQL that holds its lock and listens.

As long as the connection stands, the host is there: no other worker can enter in its name, and what
other hosts write rings its bell. When it breaks, running turns go on; nothing new is started until
the lock is held again.
"""

import logging
import math
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from codex_control_plane_mcp.errors import StateBusy
from codex_control_plane_mcp.model.ids import OperationId, RepairId
from codex_control_plane_mcp.store import herald
from codex_control_plane_mcp.store.bell import Subject
from codex_control_plane_mcp.store.book import Book
from codex_control_plane_mcp.store.editions import USABLE_FROM, Outdated, check_usable, released
from codex_control_plane_mcp.store.elsewhere import follow
from codex_control_plane_mcp.store.engine import connect_postgres
from codex_control_plane_mcp.store.hosts import LOCKS
from codex_control_plane_mcp.store.operations import Replaced

if TYPE_CHECKING:
    import psycopg

logger = logging.getLogger(__name__)

#: So often everybody looks, whatever was heard, and the connection is tried.
LOOK_SECONDS = 20.0
#: Between two attempts to come back.
RETRY_SECONDS = 1.0
#: Who hears that others' doing may have made room, or work, looks within so long: all at the same
#: moment would be in each other's way for what only one of them gets.
SPREAD_SECONDS = 0.25
#: The server may need a while to see that a former connection of this host has ended.
ENTER_SECONDS = 30.0


class _Taken(Exception):
    """Another connection holds the lock of this host."""


class Presence:
    """Whether this host is in the fleet now."""

    def __init__(self, url: str, book: Book, number: int) -> None:
        #: Nothing new is started without.
        self.is_valid = False
        self._url = url
        self._book = book
        self._number = number
        self._said: list[str] = []
        #: News of the queue that are not rung yet, and when they are.
        self._kept: set[tuple[Subject, OperationId | RepairId]] = set()
        self._ring_at = math.inf

    async def enter(self) -> "psycopg.Connection":
        """Raises StateBusy when somebody else has the host's name, or nobody answers; Replaced when
        the host was forgotten."""
        with anyio.move_on_after(ENTER_SECONDS):
            while True:
                with suppress(_Taken):
                    return await self._join()
                await anyio.sleep(RETRY_SECONDS)
        raise StateBusy(
            f"the host {self._book.host} is in the fleet already, with another worker; end that "
            "one, or give this host a name and a state of its own (CODEX_MCP_HOST)"
        )

    async def keep(
        self, connection: "psycopg.Connection", on_look: Callable[[], Awaitable[None]]
    ) -> None:
        """Listen, and come back whenever the connection is lost. `on_look` is awaited now and
        then. Raises Outdated when this release cannot go on with the book, Replaced when the
        host was forgotten: the next worker enters it anew."""
        import psycopg

        while True:
            self.is_valid = True
            # What was said before we listened was not heard.
            self._book.bell.missed()
            try:
                await self._listen(connection, on_look)
            except psycopg.Error as error:
                logger.warning("the fleet is out of reach, running turns go on: %s", error)
            finally:
                self.is_valid = False
                connection.close()
            connection = await self._come_back()
            logger.info("host %s is in the fleet again", self._book.host)

    async def _listen(
        self, connection: "psycopg.Connection", on_look: Callable[[], Awaitable[None]]
    ) -> None:
        connection.add_notify_handler(lambda note: self._said.append(note.payload))
        look_at = anyio.current_time() + LOOK_SECONDS
        while True:
            with anyio.move_on_at(min(look_at, self._ring_at)):
                await anyio.wait_readable(connection.fileno())
                connection.pgconn.consume_input()
                while (note := connection.pgconn.notifies()) is not None:
                    self._said.append(note.extra.decode())
            if anyio.current_time() >= look_at:
                await anyio.to_thread.run_sync(connection.execute, "SELECT 1")
                # Nobody was told of a commit that broke the line to whoever wrote.
                self._book.bell.look()
                await on_look()
                look_at = anyio.current_time() + LOOK_SECONDS
            said, self._said = self._said, []
            for one in said:
                self._hear(one)
            if anyio.current_time() >= self._ring_at:
                self._book.bell.ring(frozenset(self._kept))
                self._kept.clear()
                self._ring_at = math.inf

    def _hear(self, said: str) -> None:
        if said == herald.EVERYTHING:
            self._book.bell.missed()
            return
        news = herald.read(said)
        # What somebody wishes is not kept waiting: steering is for the one host that has its turn.
        wished = {id_ for subject, id_ in news if subject is Subject.WISH}
        may_wait = {one for one in news if one[0] is Subject.QUEUE and one[1] not in wished}
        self._book.bell.ring(frozenset(news - may_wait))
        if may_wait:
            self._kept |= may_wait
            within = secrets.randbelow(1000) / 1000 * SPREAD_SECONDS
            self._ring_at = min(self._ring_at, anyio.current_time() + within)

    async def _come_back(self) -> "psycopg.Connection":
        """Raises Outdated or Replaced."""
        while True:
            try:
                return await self._join()
            except Outdated:
                raise
            except _Taken:
                logger.warning("another connection is host %s for now", self._book.host)
            except StateBusy as error:
                logger.info("the fleet is still out of reach: %s", error)
            await anyio.sleep(RETRY_SECONDS)

    async def _join(self) -> "psycopg.Connection":
        # Not abandoned when cancelled: the lock would be held by a connection that nobody closes.
        return await anyio.to_thread.run_sync(self._joined)

    def _joined(self) -> "psycopg.Connection":
        """Raises _Taken, Replaced, or StateBusy, which is Outdated if this release cannot go on."""
        import psycopg

        try:
            connection = connect_postgres(self._url, autocommit=True)
            try:
                for option, value in _SERVER_NOTICES_LOSS.items():
                    connection.execute(f"SET {option} = {value}".encode())
                for channel in (herald.CHANNEL, herald.channel_of(self._number)):
                    connection.execute(f"LISTEN {channel}".encode())
                taken = connection.execute(
                    "SELECT pg_try_advisory_lock(%s::int4, %s::int4)", (LOCKS, self._number)
                ).fetchone()
                # From here on no edition that we cannot use is applied; before, one may have been.
                asked = connection.execute(str(USABLE_FROM).encode()).fetchone()
                check_usable(asked[0] if asked else 0, released())
                # Nor is the host forgotten from here on.
                listed = connection.execute(
                    "SELECT FROM hosts WHERE number = %s AND forgotten_at IS NULL", (self._number,)
                ).fetchone()
            except BaseException:
                connection.close()
                raise
        except psycopg.Error as error:
            raise StateBusy(
                f"the state database does not answer ({type(error).__name__})"
            ) from error
        if taken != (True,):
            connection.close()
            raise _Taken
        if listed is None:
            connection.close()
            raise Replaced(f"the fleet has forgotten the host {self._book.host}")
        return connection


#: A host that was cut off gives its place back after half a minute.
_SERVER_NOTICES_LOSS = {
    "tcp_keepalives_idle": 10,
    "tcp_keepalives_interval": 5,
    "tcp_keepalives_count": 3,
}


@asynccontextmanager
async def present(
    url: str, book: Book, number: int, on_look: Callable[[], Awaitable[None]]
) -> AsyncIterator[Presence]:
    """Be in the fleet as the host of this number, for as long as this lasts.

    Raises StateBusy when another worker has this host, or the server does not answer.
    """
    presence = Presence(url, book, number)
    connection = await presence.enter()
    book.herald = partial(herald.tell, besides=book.host)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(presence.keep, connection, on_look)
            tasks.start_soon(follow, book)
            yield presence
            tasks.cancel_scope.cancel()
    finally:
        book.herald = partial(herald.tell, besides=None)
        connection.close()
