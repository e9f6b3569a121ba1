"""JSON-RPC over a wire: numbered questions, answers that find their asker, and nothing of Codex.

One task reads the wire. What the other side says by itself goes to plain functions, in the order of
the wire and before anything behind it is read, so a notification that precedes an answer is seen
first. Garbage is counted and passed over: one bad message must not cost the connection.
"""

import json
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import anyio

from codex_control_plane_mcp.rpc.beside import beside
from codex_control_plane_mcp.rpc.errors import MaybeSent, NotSent, RemoteError, RpcError, TimedOut
from codex_control_plane_mcp.rpc.values import Json, JsonObject, Sendable
from codex_control_plane_mcp.rpc.wire import Wire, WireClosed

logger = logging.getLogger(__name__)

RequestId = int | str
OnNotification = Callable[[str, Json], None]
OnRequest = Callable[[RequestId, str, Json], None]
OnClosed = Callable[[str], None]
T = TypeVar("T")

METHOD_NOT_FOUND = -32601
OVERLOADED = -32001

#: First pause after "overloaded" and the longest one. A busy app-server frees room within
#: milliseconds to seconds; the jitter keeps many callers from coming back at once.
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0
#: How much of a bad message the log shows.
SHOWN_GARBAGE_CHARS = 200
#: Nobody gains from waiting long for a goodbye.
HANG_UP_SECONDS = 1.0


@dataclass(slots=True, eq=False)
class _Waiter:
    """Somebody who waits for an answer."""

    request_id: int
    method: str
    done: anyio.Event = field(default_factory=anyio.Event)
    result: Json = None
    error: RpcError | None = None

    def settle(self, result: Json = None, error: RpcError | None = None) -> None:
        self.result, self.error = result, error
        self.done.set()


def _ignore_notification(method: str, params: Json) -> None:
    """Nobody listens."""


def _ignore_closing(reason: str) -> None:
    """Nobody wants to know."""


class Peer:
    """This side of a connection. Use it inside `running`."""

    def __init__(self, wire: Wire, *, chance: Callable[[], float] = random.random) -> None:
        """`chance`, from 0 to 1, spreads the calls of many who wait for one overloaded server."""
        self._wire = wire
        self._chance = chance
        self._last_id = 0
        self._waiters: dict[RequestId, _Waiter] = {}
        self._closed_because: str | None = None
        #: What was passed over, by kind.
        self.oddities: Counter[str] = Counter()
        self._on_notification: OnNotification = _ignore_notification
        self._on_request: OnRequest | None = None
        self._on_closed: OnClosed = _ignore_closing

    @asynccontextmanager
    async def running(
        self,
        on_notification: OnNotification = _ignore_notification,
        on_request: OnRequest | None = None,
        on_closed: OnClosed = _ignore_closing,
    ) -> AsyncIterator["Peer"]:
        """Read the wire for as long as this lasts; then hang up.

        The callbacks must not raise and must not take long: the wire waits for them.
        """
        self._on_notification = on_notification
        self._on_request = on_request
        self._on_closed = on_closed
        async with beside(self._read):
            try:
                yield self
            finally:
                self._close("we hung up")
                await self._hang_up()

    @property
    def closed_because(self) -> str | None:
        """Why the wire is cut; `None` while it is not."""
        return self._closed_because

    async def request(
        self, method: str, params: Sendable = None, *, timeout_seconds: float
    ) -> Json:
        """Ask, and wait for the answer. Raises `RpcError`; its kind says what may have happened."""
        waiter, text = self._prepared(method, params)
        try:
            with anyio.fail_after(timeout_seconds):
                await self._send(text)
                await waiter.done.wait()
        except TimeoutError:
            if not waiter.done.is_set():
                raise TimedOut(method, timeout_seconds) from None
        finally:
            self._waiters.pop(waiter.request_id, None)
        if waiter.error is not None:
            raise waiter.error
        return waiter.result

    async def request_when_ready(
        self,
        method: str,
        params: Sendable = None,
        *,
        timeout_seconds: float,
    ) -> Json:
        """`request`, and again after a pause while the other side says that it is overloaded.

        It is safe to ask again: an overloaded server answers before it takes anything in hand.
        """
        deadline = anyio.current_time() + timeout_seconds
        pause = FIRST_PAUSE_SECONDS
        while True:
            left = deadline - anyio.current_time()
            try:
                return await self.request(method, params, timeout_seconds=max(left, 0.001))
            except RemoteError as error:
                nap = pause * (0.5 + self._chance())
                if error.code != OVERLOADED or anyio.current_time() + nap >= deadline:
                    raise
            await anyio.sleep(nap)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def notify(self, method: str, params: Sendable = None) -> None:
        await self._send(_encoded(_message(method, params)))

    async def respond(self, request_id: RequestId, result: Sendable) -> None:
        await self._send(_encoded({"id": request_id, "result": result}))

    async def respond_error(self, request_id: RequestId, code: int, message: str) -> None:
        await self._send(_encoded({"id": request_id, "error": {"code": code, "message": message}}))

    def _prepared(self, method: str, params: Sendable) -> tuple[_Waiter, str]:
        self._last_id += 1
        text = _encoded({"id": self._last_id, **_message(method, params)})
        waiter = self._waiters[self._last_id] = _Waiter(self._last_id, method)
        return waiter, text

    async def _send(self, text: str) -> None:
        if self._closed_because is not None:
            raise NotSent(self._closed_because)
        try:
            await self._wire.send(text)
        except WireClosed as error:
            kind = NotSent if error.nothing_written else MaybeSent
            raise kind(str(error)) from error

    async def _read(self) -> None:
        try:
            while True:
                self._take(await self._wire.receive())
        except WireClosed as error:
            self._close(str(error))

    def _take(self, text: str) -> None:
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            self._pass_over("bad JSON", text)
            return
        match message:
            case {"method": str(method), "id": int() | str() as request_id}:
                self._asked(request_id, method, message.get("params"))
            case {"method": str(method)}:
                self._tell(self._on_notification, method, message.get("params"))
            case {"id": int() | str() as request_id, "error": dict(error)}:
                self._answered(request_id, None, _remote_error(error), text)
            case {"id": int() | str() as request_id, "result": result}:
                self._answered(request_id, result, None, text)
            case _:
                self._pass_over("not a message", text)

    def _asked(self, request_id: RequestId, method: str, params: Json) -> None:
        if self._on_request is None:
            self._pass_over("unwanted request", method)
        else:
            self._tell(self._on_request, request_id, method, params)

    def _tell(self, callback: Callable[..., None], *args: object) -> None:
        try:
            callback(*args)
        except Exception:
            # The reader serves everybody: one listener's bug must not deafen the others.
            logger.exception("a listener failed")
            self.oddities["listener failed"] += 1

    def _answered(
        self, request_id: RequestId, result: Json, error: RpcError | None, text: str
    ) -> None:
        waiter = self._waiters.get(request_id)
        if waiter is None or waiter.done.is_set():
            # Mostly an answer that comes after the time-out: who asked has gone to look elsewhere.
            self._pass_over("answer that nobody waits for", text)
        else:
            waiter.settle(result, error)

    def _pass_over(self, kind: str, text: str) -> None:
        self.oddities[kind] += 1
        logger.warning("passed over: %s: %.*s", kind, SHOWN_GARBAGE_CHARS, text)

    def _close(self, reason: str) -> None:
        if self._closed_because is not None:
            return
        self._closed_because = reason
        for waiter in list(self._waiters.values()):
            waiter.settle(error=MaybeSent(reason))
        self._tell(self._on_closed, reason)

    async def _hang_up(self) -> None:
        with anyio.move_on_after(HANG_UP_SECONDS, shield=True):
            await self._wire.aclose()


def _message(method: str, params: Sendable) -> dict[str, Sendable]:
    # A method without params is sent without the field: Codex reads it as null.
    return {"method": method} if params is None else {"method": method, "params": params}


def _encoded(message: Sendable) -> str:
    return json.dumps(message, separators=(",", ":"), allow_nan=False)


def _remote_error(error: JsonObject) -> RemoteError:
    code, message = error.get("code"), error.get("message")
    return RemoteError(
        code if isinstance(code, int) else 0,
        message if isinstance(message, str) else "no message",
        error.get("data"),
    )
