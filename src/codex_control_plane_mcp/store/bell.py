"""Wakes those who wait for a change of the book. It rings after the commit, never before."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from typing import TypeAlias

import anyio

from codex_control_plane_mcp.model.ids import OperationId, RepairId


class Subject(Enum):
    """What a change is about: who cares for one thing is not woken by the others."""

    #: Something was written down about the operation.
    FACT = auto()
    #: Somebody wants something of it.
    WISH = auto()
    #: What waits may have to move: it entered the queue, gave its slots back, or is to end.
    QUEUE = auto()
    #: Somebody wants something mended, or it is: no operation, but a run of a repair.
    REPAIR = auto()
    #: A notice was put into the outbox.
    NOTICE = auto()


#: What a transaction changed, of which operations.
News: TypeAlias = frozenset[tuple[Subject, OperationId | RepairId]]


class Bell:
    """Everybody who listens hears which operations changed; nobody polls.

    One process, one event loop. For what other processes change `store.presence` rings, and
    `store.elsewhere`.
    """

    def __init__(self) -> None:
        #: In the order they came, so that a history can be told twice in the same way.
        self._listeners: dict[Listener, None] = {}
        self._told: list[Callable[[News], None]] = []
        self._missed: list[Callable[[], None]] = []
        #: Set by whoever comes to listen.
        self._came = anyio.Event()

    def ring(self, news: News) -> None:
        for hear in self._told:
            hear(news)
        for listener in list(self._listeners):
            listener.hear(news)

    def look(self) -> None:
        """Have everybody who waits look once more; it may be for nothing."""
        for listener in list(self._listeners):
            listener.wake()

    def missed(self) -> None:
        """Something may have changed that was not heard."""
        for doubt in self._missed:
            doubt()
        self.look()

    async def awaited(self) -> tuple[frozenset[OperationId], bool]:
        """Of which operations somebody waits to hear what was written down, and whether somebody
        does of all; once there is any."""
        while True:
            who = [one for one in self._listeners if one.about in (None, Subject.FACT)]
            of_all = any(isinstance(one, Gatherer) for one in who)
            ids = frozenset().union(*(one.cares_for for one in who))
            if ids or of_all:
                return ids, of_all
            self._came = anyio.Event()
            await self._came.wait()

    def tell(self, hear: Callable[[News], None], missed: Callable[[], None]) -> None:
        """Tell all news from now on, for as long as there is this bell, and when some may have been
        missed; neither takes time."""
        self._told.append(hear)
        self._missed.append(missed)

    @contextmanager
    def listening(
        self,
        *operations: OperationId,
        about: Subject | None = None,
        on_ring: Callable[[], None] | None = None,
    ) -> Iterator["Listener"]:
        """Hear of these operations, or of all when none is named; of one subject, or of whatever it
        is. Listen first, then read, then wait: a change between reading and waiting is not missed.
        `on_ring` is called at each."""
        listener = Listener(frozenset(operations), about, on_ring)
        self._listeners[listener] = None
        self._came.set()
        try:
            yield listener
        finally:
            self._listeners.pop(listener, None)

    @contextmanager
    def gathering(self) -> Iterator["Gatherer"]:
        """Hear which operations changed, whichever they are."""
        gatherer = Gatherer(frozenset(), Subject.FACT, None)
        self._listeners[gatherer] = None
        self._came.set()
        try:
            yield gatherer
        finally:
            self._listeners.pop(gatherer, None)


class Listener:
    """Remembers what it heard until somebody waits for it."""

    def __init__(
        self,
        cares_for: frozenset[OperationId],
        about: Subject | None,
        on_ring: Callable[[], None] | None,
    ) -> None:
        self.cares_for = cares_for
        self.about = about
        self._on_ring = on_ring
        self._event = anyio.Event()

    def hear(self, news: News) -> None:
        """What the bell tells every listener after a commit."""
        if any(self._is_for_us(*one) for one in news):
            self.wake()

    def wake(self) -> None:
        self._event.set()
        if self._on_ring is not None:
            self._on_ring()

    async def wait(self) -> None:
        """Return at the next change, or at once if there was one since the last call."""
        await self._event.wait()
        self._event = anyio.Event()

    def _is_for_us(self, subject: Subject, operation_id: OperationId | RepairId) -> bool:
        return (self.about is None or subject is self.about) and (
            not self.cares_for or operation_id in self.cares_for
        )


class Gatherer(Listener):
    """Remembers of which operations it heard, until somebody asks."""

    _gathered: frozenset[OperationId] = frozenset()

    def hear(self, news: News) -> None:
        # Facts are of operations.
        self._gathered |= {OperationId(id_) for subject, id_ in news if subject is self.about}
        super().hear(news)

    async def take(self) -> frozenset[OperationId]:
        """The operations that changed since the last call, once there are any."""
        await self.wait()
        gathered, self._gathered = self._gathered, frozenset()
        return gathered
