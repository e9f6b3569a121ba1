"""Kills or stops the worker at a numbered point: before or after a commit, before or after a send.
Or the line to the database breaks there.

A point is passed each time the worker makes something happen outside itself. At the chosen one it
dies as by kill -9: nothing that it still does while its tasks unwind reaches the book or Codex. Or
it stops as by SIGSTOP: until it is woken, nothing that it does reaches anybody, nor anything it.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

import anyio
from sqlalchemy import Connection, Engine

from codex_control_plane_mcp.clock import Clock
from codex_control_plane_mcp.errors import StateBusy
from codex_control_plane_mcp.model.ids import NOBODY, Generation
from codex_control_plane_mcp.rpc.wire import Wire, WireClosed
from codex_control_plane_mcp.store.bell import News
from codex_control_plane_mcp.store.book import Book, Writing
from codex_control_plane_mcp.store.engine import translated

T = TypeVar("T")


class Killed(BaseException):
    """The worker is dead. Not an Exception: nobody inside catches kill -9."""


@dataclass
class Doom:
    """Counts the points over all lives, and says at which the present life ends."""

    #: The points at which to die, ascending.
    at: tuple[int, ...] = ()
    #: The points at which to stop, ascending.
    stops: tuple[int, ...] = ()
    #: The points at which the line to the database breaks: before a commit nothing of it is kept,
    #: after one nobody hears that it was carried out.
    cuts: tuple[int, ...] = ()
    #: So long the database is out of reach then.
    outage_seconds: float = 0.0
    passed: int = 0
    #: What each point was, for the report.
    names: list[str] = field(default_factory=list)
    _back_at: float = 0.0

    @property
    def is_out(self) -> bool:
        """Whether the database is out of reach."""
        return anyio.current_time() < self._back_at

    def cuts_here(self) -> bool:
        """Whether the line breaks at the point just passed. From now on it is broken, if so."""
        if self.passed not in self.cuts:
            return False
        self._back_at = anyio.current_time() + self.outage_seconds
        return True

    def point(self, name: str, life: "Life") -> None:
        """Pass a point, or die at it."""
        life.must_live()
        self.passed += 1
        self.names.append(name)
        if self.passed in self.at:
            life.die()
            raise Killed(name)
        if self.passed in self.stops:
            life.stop()


@dataclass
class Life:
    """One worker process."""

    doom: Doom
    #: Called once, when it dies.
    on_death: Callable[[], None]
    #: Called when it is stopped.
    on_stop: Callable[[], None] = lambda: None
    is_dead: bool = False
    #: What it calls itself in the book, once it has entered.
    generation: Generation = NOBODY
    _woken: anyio.Event | None = None

    def must_live(self) -> None:
        if self.is_dead:
            raise Killed

    def die(self) -> None:
        if not self.is_dead:
            self.is_dead = True
            self.on_death()

    def stop(self) -> None:
        self._woken = anyio.Event()
        self.on_stop()

    def wake(self) -> None:
        if self._woken is not None:
            self._woken.set()
            self._woken = None

    async def awake(self) -> None:
        """Go on while it runs; while it is stopped, wait."""
        while self._woken is not None:
            await self._woken.wait()


class MortalBook(Book):
    """A book in the hands of a process that may be killed."""

    def __init__(
        self,
        writer: Engine,
        reader: Engine,
        clock: Clock,
        life: Life,
        on_commit: "Callable[[MortalBook], None]",
    ) -> None:
        super().__init__(writer, reader, clock=clock, threads=False)
        self._life = life
        self._on_commit = on_commit

    @property
    def generation(self) -> Generation:
        """Who writes."""
        return self._life.generation

    def write_now(self, work: Callable[[Writing], T], *, pen: bool = True) -> tuple[T, News]:
        doom = self._life.doom
        self._must_be_in_reach()
        doom.point("before a commit", self._life)
        result = super().write_now(_cut_off(work) if doom.cuts_here() else work, pen=pen)
        self._on_commit(self)
        doom.point("after a commit", self._life)
        if doom.cuts_here():
            # The answer was on its way.
            with self._writer.connect() as connection, suppress(StateBusy), translated():
                _cut(connection)
            raise StateBusy(_CUT)
        return result

    def read_now(self, work: Callable[[Connection], T]) -> T:
        self._must_be_in_reach()
        return super().read_now(work)

    def _must_be_in_reach(self) -> None:
        if self._life.doom.is_out:
            raise StateBusy(_CUT)

    async def _run(self, limiter: anyio.CapacityLimiter, call: Callable[[], T]) -> T:
        await self._life.awake()
        result = await super()._run(limiter, call)
        await self._life.awake()
        return result


def _cut_off(work: Callable[[Writing], T]) -> Callable[[Writing], T]:
    def until_the_line_breaks(writing: Writing) -> T:
        result = work(writing)
        _cut(writing.connection)
        return result

    return until_the_line_breaks


def _cut(connection: Connection) -> None:
    """End every connection to the database, this one last. A file has none."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(_END_ALL)
    raise StateBusy(_CUT)


_CUT = "the line to the database broke"
_END_ALL = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    " ORDER BY pid = pg_backend_pid()"
)


class MortalWire:
    """The line to Codex of a process that may be killed."""

    def __init__(self, wire: Wire, life: Life) -> None:
        self._wire = wire
        self._life = life

    async def send(self, text: str) -> None:
        await self._life.awake()
        self._life.doom.point(f"before {_what(text)}", self._life)
        await self._life.awake()
        await self._wire.send(text)
        self._life.doom.point(f"after {_what(text)}", self._life)

    async def receive(self) -> str:
        text = await self._wire.receive()
        await self._life.awake()
        if self._life.is_dead:
            raise WireClosed("the process is dead")
        return text

    async def aclose(self) -> None:
        await self._wire.aclose()


def _what(text: str) -> str:
    """What is sent, for the report: a method, or an answer."""
    return str(json.loads(text).get("method", "an answer"))
