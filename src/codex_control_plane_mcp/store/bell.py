"""Wakes those who wait for a change of the book. It rings after the commit, never before."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio

from codex_control_plane_mcp.model.ids import OperationId


class Bell:
    """Everybody who listens hears which operations changed; nobody polls.

    One process, one event loop: on SQLite the worker is the only process that writes. Where
    several write, `Book` rings it for their changes too.
    """

    def __init__(self) -> None:
        #: In the order they came, so that a history can be told twice in the same way.
        self._listeners: dict[Listener, None] = {}

    def ring(self, operations: frozenset[OperationId]) -> None:
        for listener in list(self._listeners):
            listener.hear(operations)

    @contextmanager
    def listening(
        self, *operations: OperationId, on_ring: Callable[[], None] | None = None
    ) -> Iterator["Listener"]:
        """Hear of these operations, or of all when none is named. Listen first, then read, then
        wait: a change between reading and waiting is not missed. `on_ring` is called at each."""
        listener = Listener(frozenset(operations), on_ring)
        self._listeners[listener] = None
        try:
            yield listener
        finally:
            self._listeners.pop(listener, None)


class Listener:
    """Remembers what it heard until somebody waits for it."""

    def __init__(
        self, cares_for: frozenset[OperationId], on_ring: Callable[[], None] | None
    ) -> None:
        self._cares_for = cares_for
        self._on_ring = on_ring
        self._event = anyio.Event()

    def hear(self, operations: frozenset[OperationId]) -> None:
        """What the bell tells every listener after a commit."""
        if not self._cares_for or not self._cares_for.isdisjoint(operations):
            self._event.set()
            if self._on_ring is not None:
                self._on_ring()

    async def wait(self) -> None:
        """Return at the next change, or at once if there was one since the last call."""
        await self._event.wait()
        self._event = anyio.Event()
