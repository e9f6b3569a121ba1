"""Which operations changed: for doors that tell their clients of it without being asked."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass

from codex_control_plane_mcp.model.ids import OperationId, ThreadId
from codex_control_plane_mcp.store import lookup
from codex_control_plane_mcp.store.bell import Gatherer
from codex_control_plane_mcp.store.book import Book


@dataclass(frozen=True, slots=True)
class Changed:
    operation_ids: frozenset[OperationId]
    #: One of them was not there before.
    has_new: bool


class Changes:
    """What changed from when this was opened on."""

    def __init__(self, book: Book, gatherer: Gatherer, newest: str) -> None:
        self._book = book
        self._gatherer = gatherer
        #: Ids sort by when they were made.
        self._newest = newest

    async def next(self) -> Changed:
        """What changed since the last call, once there is something."""
        ids = await self._gatherer.take()
        before, self._newest = self._newest, max(self._newest, *ids)
        return Changed(ids, has_new=self._newest > before)

    async def threads_of(self, ids: Collection[OperationId]) -> set[ThreadId]:
        """The threads that these work in."""
        found = await self._book.read(lambda reading: lookup.many(reading, list(ids)))
        return {one.thread_id for one in found if one.thread_id is not None}


@asynccontextmanager
async def changes(book: Book) -> AsyncIterator[Changes]:
    with book.bell.gathering() as gatherer:
        newest = await book.read(lambda reading: lookup.newest(reading, 1))
        yield Changes(book, gatherer, newest[0].id if newest else "")
