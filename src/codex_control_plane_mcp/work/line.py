"""The connections to Codex that all drivers share, each made when somebody first needs it.

There is one for new work. When an app-server takes no new work any more (it drains, or a newer
Codex is installed), the next task gets another one, and the former connection is kept for those who
still have turns there.
"""

import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import anyio

from codex_control_plane_mcp.codex.errors import AppServerUnavailable, CodexError
from codex_control_plane_mcp.codex.session import CodexSession
from codex_control_plane_mcp.model.ids import AppServerId

logger = logging.getLogger(__name__)

#: A connection that nobody uses is kept for this long: its former user may only take a breath
#: between two attempts, and an answer that it waits for would be lost with the line.
LINGER_SECONDS = 30.0

Connect = Callable[[], AbstractAsyncContextManager[CodexSession]]
ConnectTo = Callable[[AppServerId], AbstractAsyncContextManager[CodexSession]]


@dataclass(slots=True, eq=False)
class _Connection:
    """One connection, from the moment that somebody wants it."""

    #: The app-server that was asked for; `None`: the one for new work.
    owner: AppServerId | None
    session: CodexSession | None = None
    #: Why there is no session.
    trouble: CodexError | None = None
    #: Set when there is a session, or a trouble.
    settled: anyio.Event = field(default_factory=anyio.Event)
    users: int = 0
    #: Set when the last user has left.
    unused: anyio.Event = field(default_factory=anyio.Event)
    is_leaving: bool = False

    @property
    def is_up(self) -> bool:
        return self.session is not None and not (self.is_leaving or self.session.lost.is_set())

    @property
    def is_dialling(self) -> bool:
        return not self.settled.is_set()

    @property
    def takes_new_work(self) -> bool:
        return self.session is not None and self.is_up and self.session.takes_new_work

    @property
    def reaches(self) -> AppServerId | None:
        """Who answers, or will."""
        return self.session.app_server.id if self.session is not None else self.owner


class Line:
    """Hands out a session that is up, or brings one up.

    `run` owns the connections; drivers come and go without one task's end cutting another's line.
    """

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        #: How to reach one certain app-server. Without it only that for new work is reached.
        self.connect_to: ConnectTo | None = None
        self._connections: list[_Connection] = []
        #: The connection for new work: kept also while nobody uses it.
        self._current: _Connection | None = None
        self._to_dial: list[_Connection] = []
        self._wanted = anyio.Event()

    @property
    def present(self) -> CodexSession | None:
        """The session for new work, if one is up. Asking brings none up."""
        current = self._current
        return current.session if current is not None and current.is_up else None

    @property
    def in_use(self) -> frozenset[AppServerId]:
        """The app-servers over whose connections somebody works."""
        ids = (one.reaches for one in self._connections if one.users)
        return frozenset(one for one in ids if one is not None)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[CodexSession]:
        """The session for new work, connecting first if there is none.

        Raises CodexError (BinaryNotFound, AppServerUnavailable, ...) when there can be none now.
        """
        async with self._using(self._for_new_work) as session:
            yield session

    @asynccontextmanager
    async def session_for(self, owner: AppServerId) -> AsyncIterator[CodexSession]:
        """The session with the app-server that has somebody's turn. Look who really answers: where
        only one app-server can be reached, it is that one.

        Raises CodexError when there can be none now.
        """
        async with self._using(lambda: self._to(owner)) as session:
            yield session

    async def run(self) -> None:
        """Connect whenever somebody wants it, hold each line until it drops or is not needed."""
        async with anyio.create_task_group() as tasks:
            while True:
                await self._wanted.wait()
                self._wanted = anyio.Event()
                to_dial, self._to_dial = self._to_dial, []
                for connection in to_dial:
                    tasks.start_soon(self._hold, connection)

    # Choosing

    def _for_new_work(self) -> _Connection:
        for connection in self._connections:
            if connection.takes_new_work:
                return connection
        for connection in self._connections:
            if connection.is_dialling and connection.owner is None:
                return connection
        return self._dial(None)

    def _to(self, owner: AppServerId) -> _Connection:
        for connection in self._connections:
            if connection.reaches == owner and (connection.is_up or connection.is_dialling):
                return connection
        return self._for_new_work() if self.connect_to is None else self._dial(owner)

    def _dial(self, owner: AppServerId | None) -> _Connection:
        connection = _Connection(owner)
        self._connections.append(connection)
        self._to_dial.append(connection)
        self._wanted.set()
        return connection

    # Using

    @asynccontextmanager
    async def _using(self, choose: Callable[[], _Connection]) -> AsyncIterator[CodexSession]:
        while True:
            connection = choose()
            with self._counted(connection):
                await connection.settled.wait()
                if connection.session is not None and connection.is_up:
                    yield connection.session
                    return
                if connection.trouble is not None:
                    raise connection.trouble

    @contextmanager
    def _counted(self, connection: _Connection) -> Iterator[None]:
        connection.users += 1
        try:
            yield
        finally:
            connection.users -= 1
            connection.unused.set()

    # Holding

    async def _hold(self, connection: _Connection) -> None:
        try:
            async with self._opening(connection.owner) as session:
                self._is_up(connection, session)
                await _first(session.lost.wait, lambda: self._unneeded(connection))
        except CodexError as error:
            connection.trouble = error
        except OSError as error:
            logger.exception("cannot reach an app-server")
            connection.trouble = AppServerUnavailable(str(error))
        finally:
            connection.session = None
            connection.settled.set()
            self._connections.remove(connection)
            if self._current is connection:
                self._current = None

    def _opening(self, owner: AppServerId | None) -> AbstractAsyncContextManager[CodexSession]:
        if owner is None or self.connect_to is None:
            return self._connect()
        return self.connect_to(owner)

    def _is_up(self, connection: _Connection, session: CodexSession) -> None:
        connection.session = session
        connection.settled.set()
        if connection.owner is None:
            former, self._current = self._current, connection
            if former is not None:
                former.unused.set()

    async def _unneeded(self, connection: _Connection) -> None:
        """Wait until nobody has used it for a while, and nobody will."""
        while not connection.is_leaving:
            await connection.unused.wait()
            connection.unused = anyio.Event()
            await anyio.sleep(LINGER_SECONDS)
            connection.is_leaving = not connection.users and connection is not self._current


async def _first(*waits: Callable[[], Coroutine[None, None, object]]) -> None:
    """Wait until one of them is over."""
    async with anyio.create_task_group() as tasks:

        async def wait(until: Callable[[], Coroutine[None, None, object]]) -> None:
            await until()
            tasks.cancel_scope.cancel()

        for until in waits:
            tasks.start_soon(wait, until)
