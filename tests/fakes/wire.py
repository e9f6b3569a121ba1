"""A wire that can be cut, or lose an answer, whatever app-server is at its other end."""

import json
from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto

import anyio

from codex_control_plane_mcp.rpc.wire import Wire, WireClosed


class Mishap(Enum):
    """What happens to the next call of a method."""

    #: The line drops, and not a byte of the call was written.
    CUT_BEFORE = auto()
    #: The call is written, and the line drops before anything comes back.
    CUT_AFTER = auto()
    #: The call is written and carried out, and its answer never comes.
    LOSE_ANSWER = auto()


@dataclass(slots=True)
class Scissors:
    """Held by the test; every wire that it wraps obeys it."""

    _mishaps: dict[str, deque[Mishap]] = field(default_factory=dict)
    _wires: "list[CuttableWire]" = field(default_factory=list)
    #: Set when the first mishap has happened.
    struck: anyio.Event = field(default_factory=anyio.Event)

    def at_next(self, method: str, mishap: Mishap) -> None:
        self._mishaps.setdefault(method, deque()).append(mishap)

    def around(self, wire: Wire) -> Wire:
        cuttable = CuttableWire(wire, self)
        self._wires.append(cuttable)
        return cuttable

    async def cut(self) -> None:
        """Drop every line that is up."""
        wires, self._wires = self._wires, []
        for wire in wires:
            await wire.aclose()

    def mishap_at(self, method: object) -> Mishap | None:
        waiting = self._mishaps.get(str(method))
        if not waiting:
            return None
        self.struck.set()
        return waiting.popleft()


class CuttableWire:
    """Passes texts on, as long as the scissors let it."""

    def __init__(self, wire: Wire, scissors: Scissors) -> None:
        self._wire = wire
        self._scissors = scissors
        self._swallowed: set[object] = set()

    async def send(self, text: str) -> None:
        message = json.loads(text)
        match self._scissors.mishap_at(message.get("method")):
            case Mishap.CUT_BEFORE:
                await self.aclose()
                raise WireClosed("cut by the test", nothing_written=True)
            case Mishap.CUT_AFTER:
                await self._wire.send(text)
                await self.aclose()
            case Mishap.LOSE_ANSWER:
                self._swallowed.add(message["id"])
                await self._wire.send(text)
            case None:
                await self._wire.send(text)

    async def receive(self) -> str:
        while True:
            text = await self._wire.receive()
            if not self._swallowed or not self._is_swallowed(text):
                return text

    async def aclose(self) -> None:
        await self._wire.aclose()

    def _is_swallowed(self, text: str) -> bool:
        message = json.loads(text)
        return "method" not in message and message.get("id") in self._swallowed
