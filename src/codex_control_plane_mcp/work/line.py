"""The one connection to Codex that all drivers share, made when somebody first needs it."""

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import anyio

from codex_control_plane_mcp.codex.errors import AppServerUnavailable, CodexError
from codex_control_plane_mcp.codex.session import CodexSession

logger = logging.getLogger(__name__)

Connect = Callable[[], AbstractAsyncContextManager[CodexSession]]


class Line:
    """Hands out the session that is up, or brings one up.

    `run` owns the connection; drivers come and go without one task's end cutting another's line.
    """

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._session: CodexSession | None = None
        self._wanted = anyio.Event()
        #: Set when the attempt under way has an outcome: a session, or `_trouble`.
        self._settled = anyio.Event()
        self._trouble: CodexError | None = None

    @property
    def present(self) -> CodexSession | None:
        """The session that is up, if one is. Asking brings none up."""
        session = self._session
        return None if session is None or session.lost.is_set() else session

    async def session(self) -> CodexSession:
        """The session, connecting first if there is none.

        Raises CodexError (BinaryNotFound, AppServerUnavailable, ...) when there can be none now.
        """
        while (session := self.present) is None:
            settled = self._settled
            self._wanted.set()
            await settled.wait()
            if self.present is None and self._trouble is not None:
                raise self._trouble
        return session

    async def run(self) -> None:
        """Connect whenever somebody wants it, hold the line until it drops, for ever."""
        while True:
            await self._wanted.wait()
            try:
                async with self._connect() as session:
                    self._settle(session, None)
                    await session.lost.wait()
            except CodexError as error:
                self._settle(None, error)
            except OSError as error:
                logger.exception("cannot reach an app-server")
                self._settle(None, AppServerUnavailable(str(error)))
            finally:
                self._session = None

    def _settle(self, session: CodexSession | None, trouble: CodexError | None) -> None:
        self._session, self._trouble = session, trouble
        self._wanted = anyio.Event()
        settled, self._settled = self._settled, anyio.Event()
        settled.set()
