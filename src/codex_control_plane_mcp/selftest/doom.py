"""Kills or stops the worker at a numbered point: before or after a commit, before or after a send.

A point is passed each time the worker makes something happen outside itself. At the chosen one it
dies as by kill -9: nothing that it still does while its tasks unwind reaches the book or Codex. Or
it stops as by SIGSTOP: until it is woken, nothing that it does reaches anybody, nor anything it.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import anyio
from sqlalchemy import Engine

from codex_control_plane_mcp.clock import Clock
from codex_control_plane_mcp.model.ids import NOBODY, Generation
from codex_control_plane_mcp.rpc.wire import Wire, WireClosed
from codex_control_plane_mcp.store.bell import News
from codex_control_plane_mcp.store.book import Book, Writing

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
    passed: int = 0
    #: What each point was, for the report.
    names: list[str] = field(default_factory=list)

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
        self._life.doom.point("before a commit", self._life)
        result = super().write_now(work, pen=pen)
        self._on_commit(self)
        self._life.doom.point("after a commit", self._life)
        return result

    async def _run(self, limiter: anyio.CapacityLimiter, call: Callable[[], T]) -> T:
        await self._life.awake()
        result = await super()._run(limiter, call)
        await self._life.awake()
        return result


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
