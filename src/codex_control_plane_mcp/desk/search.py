"""Search over what was asked, said, planned and reported, here and in what hooks told.

The index is a cache of the book, and has one writer: this. The bell says which operations changed;
they are taken in before the next search looks, and now and then when nobody searches. So a search
finds what was committed before it, and a read writes into the cache, never into the book.
"""

import base64
import binascii
import json
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread

from codex_control_plane_mcp.desk import projects
from codex_control_plane_mcp.desk.projects import Touched
from codex_control_plane_mcp.desk.texts import plain, start_of
from codex_control_plane_mcp.desk.views_search import SearchHit, SearchView
from codex_control_plane_mcp.errors import ControlPlaneError, InvalidArgument
from codex_control_plane_mcp.model.ids import OperationId, ProjectId
from codex_control_plane_mcp.model.journal import Category, Written
from codex_control_plane_mcp.model.operation import Operation
from codex_control_plane_mcp.model.request import ArchiveThread, CompactThread, UnarchiveThread
from codex_control_plane_mcp.settings import Settings
from codex_control_plane_mcp.store import elsewhere, hook_history, journal, lookup
from codex_control_plane_mcp.store import search as index
from codex_control_plane_mcp.store.bell import News, Subject
from codex_control_plane_mcp.store.book import Book, Reading
from codex_control_plane_mcp.store.hook_history import HookKind, Kept
from codex_control_plane_mcp.store.search import (
    Connection,
    Found,
    MatchMode,
    Origin,
    Said,
    TextKind,
    Wanted,
)

logger = logging.getLogger(__name__)
T = TypeVar("T")

MAX_QUERY_CHARS = 500
#: A word may be long: what stands in base64 is one.
MAX_SNIPPET_CHARS = 400
#: Operations, or events of hooks, that are taken in with one commit.
AT_ONCE = 500
#: A search waits so long for the index to catch up, then answers from what is there.
CATCH_UP_SECONDS = 5.0
#: When nobody searches, so often, for the next one to have little to catch up on.
KEEP_UP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Query:
    query: str
    project: str | None = None
    mode: MatchMode = MatchMode.ALL
    limit: int = 20
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: in the matches of a query among the texts up to `newest`."""

    digest: str
    newest: int
    offset: int

    def cursor_behind(self, count: int) -> str:
        """Where the next page begins, if this one shows so many."""
        told = json.dumps([self.digest, self.newest, self.offset + count], separators=(",", ":"))
        return base64.urlsafe_b64encode(told.encode()).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class Page:
    view: SearchView
    place: Place


@dataclass(frozen=True, slots=True)
class _Batch:
    """What the book has that the index has not."""

    #: With what was said since; None: the book does not have it (any more).
    operations: Sequence[tuple[OperationId, Operation | None, Sequence[Written]]]
    events: Sequence[Kept]


class Search:
    """The search of one book. On virtual time nothing runs in threads."""

    def __init__(self, book: Book, settings: Settings, *, threads: bool = True) -> None:
        self._book = book
        self._settings = settings
        self._path = settings.search_index
        self._threads = threads
        self._pen = anyio.Lock()
        #: Operations that changed since they were taken in.
        self._changed: set[OperationId] = set()
        #: Whether the book and the index have been held against each other: from then on, what
        #: the bell says is enough.
        self._is_compared = False
        self._compared_at = book.now()
        book.bell.tell(self._hear, self._missed)

    async def keep_up(self) -> None:
        """Keep the index near the book until cancelled."""
        while True:
            try:
                await self._mending(self._catch_up)
            except ControlPlaneError as error:
                logger.warning("the search index waits: %s", error)
            except Exception:
                # A border: tasks do not depend on what can be found.
                logger.exception("the search index waits")
            await anyio.sleep(KEEP_UP_SECONDS)

    async def find(self, query: Query, touched: Iterable[Touched]) -> Page:
        """One page, the best first. `touched` helps to know a project by its name.

        Raises InvalidArgument, ProjectNotFound, StateBusy.
        """
        plain("query", query.query, MAX_QUERY_CHARS)
        if not index.can_match(query.query):
            raise InvalidArgument("query needs at least one letter or digit", field="query")

        async def find() -> Page:
            with anyio.move_on_after(CATCH_UP_SECONDS) as patience:
                await self._catch_up()
            complete = not patience.cancelled_caught
            return await self._use(lambda opened: self._page(opened, query, touched, complete))

        return await self._mending(find)

    async def rebuild(self) -> int:
        """Make the index anew from the book; gives the number of its texts."""
        async with self._pen:
            await self._throw_away()
        await self._catch_up()
        return await self._use(index.count)

    # --- Finding ----------------------------------------------------------------------------------

    def _page(
        self, opened: Connection, query: Query, touched: Iterable[Touched], complete: bool
    ) -> Page:
        wanted = Wanted(query.query, query.mode, self._project(opened, query.project, touched))
        place = _place(query.cursor, wanted) or Place(_digest(wanted), index.newest(opened), 0)
        found = index.find(opened, wanted, place.newest, place.offset, query.limit + 1)
        more = len(found) > query.limit
        view = SearchView(
            results=tuple(_hit(one) for one in found[: query.limit]),
            next_cursor=place.cursor_behind(query.limit) if more else None,
            complete=complete,
        )
        return Page(view, place)

    def _project(
        self, opened: Connection, named: str | None, touched: Iterable[Touched]
    ) -> ProjectId | None:
        """People work outside the allowed roots, too: what is in the index can be named."""
        if named is None:
            return None
        known = [named, self._project_at(named)] if Path(named).is_absolute() else [named]
        for one in known:
            if index.knows_project(opened, one):
                return ProjectId(one)
        return projects.place(self._settings, touched, project=named, cwd=None).project_id

    def _project_at(self, cwd: str) -> ProjectId:
        return projects.project_at(self._settings, Path(os.path.realpath(cwd))).id

    # --- Catching up ------------------------------------------------------------------------------

    def _missed(self) -> None:
        self._is_compared = False

    def _hear(self, news: News) -> None:
        if self._is_compared:
            self._changed.update(
                OperationId(id_) for subject, id_ in news if subject is not Subject.REPAIR
            )

    async def _catch_up(self) -> None:
        async with self._pen:
            if not self._is_compared:
                await self._compare()
            elif self._book.is_shared:
                await self._compare_recent()
            while await self._take_some():
                pass

    async def _compare(self) -> None:
        # From here on the bell is heard: what changes while we compare is not missed.
        self._is_compared, self._compared_at = True, self._book.now()
        try:
            taken, hooks_taken = await self._use(
                lambda opened: (index.heads(opened), index.hooks_head(opened))
            )
            there, hooks_there = await self._book.read(
                lambda reading: (lookup.heads(reading), hook_history.last_seq(reading))
            )
            if hooks_there < hooks_taken:
                # An older book has been put in the place of this one.
                await self._write(index.forget_hooks)
        except BaseException:
            self._is_compared = False
            raise
        self._changed.update(id_ for id_ in {*taken, *there} if taken.get(id_) != there.get(id_))

    async def _compare_recent(self) -> None:
        """What other hosts write is not told to the bell."""
        since, now = self._compared_at, self._book.now()
        there = await self._book.read(lambda reading: elsewhere.recent(reading, since))
        taken, _ = await self._use(partial(_heads, list(there)))
        self._changed.update(id_ for id_ in there if taken[id_] != there[id_])
        self._compared_at = now

    async def _take_some(self) -> bool:
        """Take in some of what changed; whether there may be more."""
        ids = list(islice(self._changed, AT_ONCE))
        # Before it is read: what changes from now on is heard again.
        self._changed.difference_update(ids)
        try:
            heads, hooks_head = await self._use(partial(_heads, ids))
            batch = await self._book.read(lambda reading: _batch(reading, heads, hooks_head))
            if batch.operations or batch.events:
                await self._write(partial(self._take_in, batch))
        except BaseException:
            self._changed.update(ids)
            raise
        return bool(self._changed) or len(batch.events) == AT_ONCE

    def _take_in(self, batch: _Batch, opened: Connection) -> None:
        for operation_id, operation, said in batch.operations:
            if operation is None:
                index.forget(opened, operation_id)
            else:
                _take_operation(opened, operation, said)
        homes: dict[str, ProjectId] = {}
        for kept in batch.events:
            cwd = kept.event.cwd
            if cwd not in homes:
                homes[cwd] = self._project_at(cwd)
            _take_event(opened, kept, homes[cwd])
        if batch.events:
            index.set_hooks_head(opened, batch.events[-1].seq)

    # --- The file ---------------------------------------------------------------------------------

    async def _mending(self, use: Callable[[], Awaitable[T]]) -> T:
        """Do it; if the index turns out to be damaged, once more with a new one."""
        try:
            return await use()
        except index.Damaged as error:
            logger.warning("the search index is made anew: %s", error)
            await self._throw_away()
            return await use()

    async def _throw_away(self) -> None:
        self._is_compared = False
        await self._run(partial(index.remove, self._path))

    async def _use(self, use: Callable[[Connection], T]) -> T:
        def opened() -> T:
            with index.opened(self._path) as connection:
                return use(connection)

        return await self._run(opened)

    async def _write(self, use: Callable[[Connection], None]) -> None:
        def write(connection: Connection) -> None:
            with index.writing(connection):
                use(connection)

        await self._use(write)

    async def _run(self, call: Callable[[], T]) -> T:
        if self._threads:
            return await anyio.to_thread.run_sync(call)
        await anyio.lowlevel.checkpoint()
        return call()


# --- What is taken in ----------------------------------------------------------------------------

_SPOKEN = {Category.ASSISTANT: TextKind.ANSWER, Category.PLAN: TextKind.PLAN}
_TOLD = {HookKind.PROMPT: TextKind.PROMPT, HookKind.ANSWER: TextKind.ANSWER}


def _heads(ids: Sequence[OperationId], opened: Connection) -> tuple[dict[OperationId, int], int]:
    return {id_: index.head(opened, id_) for id_ in ids}, index.hooks_head(opened)


def _batch(reading: Reading, heads: dict[OperationId, int], hooks_head: int) -> _Batch:
    there = {one.id: one for one in lookup.many(reading, list(heads))}
    found: list[tuple[OperationId, Operation | None, Sequence[Written]]] = []
    for id_, seq in heads.items():
        operation = there.get(id_)
        if operation is None or operation.last_seq < seq:
            found.append((id_, None, ()))
            seq = 0
        if operation is not None and operation.last_seq != seq:
            found.append((id_, operation, journal.said_after(reading, id_, seq)))
    return _Batch(found, hook_history.after(reading, hooks_head, AT_ONCE))


def _take_operation(opened: Connection, operation: Operation, said: Sequence[Written]) -> None:
    request = operation.request
    origin = Origin(request.project_id, operation.thread_id, operation.turn_id, operation.id)
    match request:
        case ArchiveThread() | UnarchiveThread() | CompactThread():
            pass  # Nobody said anything.
        case _:
            if index.head(opened, operation.id) == 0 and request.message.strip():
                prompt = Said(TextKind.PROMPT, operation.created_at, request.message)
                index.add(opened, origin, [prompt])
            index.add(opened, origin, (_spoken(entry) for entry in said))
            index.conclude(opened, origin, _conclusion(operation))
            index.place(opened, origin)
    index.set_head(opened, operation.id, operation.last_seq)


def _spoken(entry: Written) -> Said:
    return Said(_SPOKEN[entry.category], entry.at, entry.text, entry.item_id)


def _conclusion(operation: Operation) -> list[Said]:
    report, at = operation.report, operation.completed_at
    if report is None or at is None or operation.turn_id is None:
        return []  # Not ended, or a fork without a word.
    plan = report.plan
    said = [] if plan is None else [Said(TextKind.PLAN, at, plan.markdown, plan.item_id)]
    if plan is None or report.text != plan.markdown:
        said.append(Said(TextKind.REPORT, at, report.text))
    return said


def _take_event(opened: Connection, kept: Kept, project_id: ProjectId) -> None:
    event = kept.event
    if event.kind in _TOLD:
        origin = Origin(project_id, event.thread_id, event.turn_id)
        index.add(opened, origin, [Said(_TOLD[event.kind], event.at, event.text)])


def _hit(found: Found) -> SearchHit:
    origin = found.origin
    return SearchHit(
        chat_id=origin.thread_id,
        thread_id=origin.thread_id,
        turn_id=origin.turn_id,
        operation_id=origin.operation_id,
        project_id=origin.project_id,
        kind=found.kind,
        at=found.at,
        snippet=start_of(found.snippet, MAX_SNIPPET_CHARS)[0],
        source="hook_history" if origin.operation_id is None else "tracked_turn",
    )


# --- Cursors -------------------------------------------------------------------------------------


def _digest(wanted: Wanted) -> str:
    told = json.dumps([wanted.query, wanted.mode, wanted.project_id])
    return sha256(told.encode()).hexdigest()[:12]


def _place(cursor: str | None, wanted: Wanted) -> Place | None:
    if cursor is None:
        return None
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        told: object = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        match told:
            case [str(digest), int(newest), int(offset)] if digest == _digest(wanted):
                return Place(digest, newest, max(0, offset))
            case _:
                pass
    except (ValueError, binascii.Error):
        pass
    raise InvalidArgument(
        "cursor is none that codex_search_chats gave for this query; leave it out to start anew",
        field="cursor",
    )
