"""A wire carries whole texts both ways. It knows neither JSON nor who is at the other end."""

from typing import Protocol

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream


class WireClosed(Exception):
    """The wire is cut."""

    def __init__(self, reason: str, *, nothing_written: bool = False) -> None:
        super().__init__(reason)
        #: While sending: no byte of the text can have reached the other side.
        self.nothing_written = nothing_written


class Wire(Protocol):
    """Send and receive whole texts. Many may send; one receives. Both raise `WireClosed`."""

    async def send(self, text: str) -> None: ...

    async def receive(self) -> str: ...

    async def aclose(self) -> None: ...


class MemoryWire:
    """One end of a wire within this process."""

    def __init__(
        self,
        outgoing: MemoryObjectSendStream[str],
        incoming: MemoryObjectReceiveStream[str],
    ) -> None:
        self._outgoing = outgoing
        self._incoming = incoming

    async def send(self, text: str) -> None:
        try:
            await self._outgoing.send(text)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise WireClosed("the other end hung up", nothing_written=True) from error

    async def receive(self) -> str:
        try:
            return await self._incoming.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError) as error:
            raise WireClosed("the other end hung up") from error

    async def aclose(self) -> None:
        self._outgoing.close()
        self._incoming.close()


def memory_wire_pair(buffered: int = 1024) -> tuple[MemoryWire, MemoryWire]:
    """Two ends of one wire; `buffered` texts may lie in each direction before `send` waits."""
    to_right, from_left = anyio.create_memory_object_stream[str](buffered)
    to_left, from_right = anyio.create_memory_object_stream[str](buffered)
    return MemoryWire(to_right, from_right), MemoryWire(to_left, from_left)
