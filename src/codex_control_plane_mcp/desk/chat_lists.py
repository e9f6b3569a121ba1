"""Lists of chats: those of a project, and those in which something is going on.

What is at work comes first, from the book: it is there before Codex lists it. Then come the chats
that Codex lists, and where Codex cannot be asked, those that the book knows. Archived ones come
last.
"""

import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Final

from codex_control_plane_mcp.codex.words.things import Thread
from codex_control_plane_mcp.desk import views_chats
from codex_control_plane_mcp.desk.chats import (
    Sources,
    homes,
    moment,
    status_word,
    title,
)
from codex_control_plane_mcp.desk.cursors import bad_cursor, packed, unpacked
from codex_control_plane_mcp.desk.projects import Touched
from codex_control_plane_mcp.desk.records import APP_SERVER, TRACKED_TURN, NotThere, NoWord, asked
from codex_control_plane_mcp.desk.texts import weight
from codex_control_plane_mcp.errors import AppServerUnavailable
from codex_control_plane_mcp.model.ids import OperationId, ProjectId
from codex_control_plane_mcp.model.operation import ACTIVE, Operation
from codex_control_plane_mcp.store import chats, lookup
from codex_control_plane_mcp.store.book import Reading

#: What the lines of a list may weigh, and what one weighs beside its title and the chat's id.
LIST_WEIGHT: Final = 9_000
LINE_FRAME: Final = 290
#: So much is looked through for a page: Codex's list is not by project.
MOST_BATCHES: Final = 12
#: So many threads in Codex's memory are looked at.
MOST_LOADED: Final = 100


class _Section(StrEnum):
    """A part of the list of a project's chats."""

    AT_WORK = "w"
    LISTED = "c"
    ARCHIVED = "a"
    #: Instead of the former two.
    BOOK = "b"


@dataclass(frozen=True, slots=True)
class _Mark:
    """A place in the list: behind the line of an operation or thread, or where a section or a page
    of Codex's begins."""

    section: _Section
    page: str | None = None
    last: str | None = None


@dataclass(frozen=True, slots=True)
class _Batch:
    """Lines, each with the mark behind it."""

    lines: Sequence[tuple[_Mark, views_chats.ChatLine]]
    #: Where the next batch begins; None when this was the last.
    next: _Mark | None


@dataclass(frozen=True, slots=True)
class _List:
    """Which list is wanted."""

    sources: Sources
    project_id: ProjectId
    include_archived: bool
    unfinished: Sequence[chats.Unfinished]
    #: So many of ours are read at once.
    size: int

    @property
    def busy(self) -> set[str | None]:
        """Threads that are among those at work, wherever else they are listed."""
        return {one.thread_id for one in self.unfinished}


async def of_project(
    sources: Sources,
    project_id: ProjectId,
    *,
    include_archived: bool,
    limit: int,
    cursor: str | None,
) -> views_chats.ChatList:
    """Raises InvalidArgument for a cursor of another list."""
    mark = _Mark(_Section.AT_WORK) if cursor is None else _unpacked(cursor, project_id)
    unfinished = await sources.book.read(chats.unfinished)
    wanted = _List(sources, project_id, include_archived, unfinished, limit + 1)
    found: list[views_chats.ChatLine] = []
    room = LIST_WEIGHT
    for _ in range(MOST_BATCHES):
        batch = await _BATCHES[mark.section](wanted, mark)
        for behind, line in batch.lines:
            room -= _line_weight(line)
            if found and (room < 0 or len(found) == limit):
                return views_chats.ChatList(tuple(found), _packed(mark, project_id))
            found.append(line)
            mark = behind
        if batch.next is None:
            return views_chats.ChatList(tuple(found), None)
        mark = batch.next
    return views_chats.ChatList(tuple(found), _packed(mark, project_id))


async def active(sources: Sources, limit: int) -> views_chats.ActiveChats:
    """Those in which a turn runs or waits for an answer, whoever began it."""

    def look(reading: Reading) -> list[views_chats.ChatLine]:
        started = [one.id for one in chats.unfinished(reading) if one.status in ACTIVE]
        return _lines_of(started, reading)

    ours = await sources.book.read(look)
    known = {line.chat_id for line in ours}
    others = [one for one in await _running(sources) if one.id not in known]
    shown = await homes(sources, [one.cwd for one in others])
    theirs = [
        _codex_line(one, shown[one.cwd].project_id, archived=False)
        for one in others
        if one.cwd in shown
    ]
    found = [*ours, *theirs]
    room = itertools.accumulate(map(_line_weight, found))
    fitting = [line for line, end in zip(found, room, strict=True) if end <= LIST_WEIGHT]
    return views_chats.ActiveChats(tuple(fitting[:limit]), len(found), len(others) - len(theirs))


async def touched(sources: Sources) -> list[Touched]:
    """Where Codex was last used, as far as it may be seen."""
    library = sources.runtime.library()
    if library is None:
        return []
    try:
        page = await asked(partial(library.threads, archived=False, cursor=None))
    except NoWord:
        return []
    shown = await homes(sources, [thread.cwd for thread in page.data])
    return [
        Touched(str(shown[thread.cwd].folder), at)
        for thread in page.data
        if thread.cwd in shown and (at := moment(thread.updated_at)) is not None
    ]


# --- The chats of a project, one after the other -------------------------------------------------


async def _at_work(wanted: _List, mark: _Mark) -> _Batch:
    """One for each thread: what runs there, else what is next. Newest first; ids sort by time."""
    chosen: dict[str, chats.Unfinished] = {}
    for one in reversed(wanted.unfinished):
        key = one.thread_id or one.id
        if one.project_id == wanted.project_id and (
            key not in chosen or (one.status in ACTIVE and chosen[key].status not in ACTIVE)
        ):
            chosen[key] = one
    ids = sorted(
        (one.id for one in chosen.values() if mark.last is None or one.id < mark.last),
        reverse=True,
    )
    lines = await wanted.sources.book.read(partial(_lines_of, ids[: wanted.size]))
    return _Batch(
        [(_Mark(_Section.AT_WORK, last=line.operation_id), line) for line in lines],
        _Mark(_Section.AT_WORK, last=ids[wanted.size - 1])
        if len(ids) > wanted.size
        else _Mark(_Section.LISTED),
    )


async def _listed(wanted: _List, mark: _Mark) -> _Batch:
    """A page of those that Codex lists."""
    archived = mark.section is _Section.ARCHIVED
    library = wanted.sources.runtime.library()
    try:
        if library is None:
            raise NoWord
        page = await asked(partial(library.threads, archived=archived, cursor=mark.page))
    except NoWord as error:
        if mark == _Mark(_Section.LISTED):
            return _Batch((), _Mark(_Section.BOOK))
        raise AppServerUnavailable(
            "Codex, which lists these chats, cannot be asked now; try again, or leave cursor out "
            "to list those that are known without it"
        ) from error
    ids: list[str] = [thread.id for thread in page.data]
    behind = ids.index(mark.last) + 1 if mark.last in ids else 0
    shown = await homes(wanted.sources, [thread.cwd for thread in page.data[behind:]])
    if page.next_cursor is not None:
        beyond: _Mark | None = _Mark(mark.section, page.next_cursor)
    else:
        beyond = None if archived or not wanted.include_archived else _Mark(_Section.ARCHIVED)
    return _Batch(
        [
            (
                _Mark(mark.section, mark.page, thread.id),
                _codex_line(thread, wanted.project_id, archived=archived),
            )
            for thread in page.data[behind:]
            if thread.id not in wanted.busy
            and (home := shown.get(thread.cwd)) is not None
            and home.project_id == wanted.project_id
        ],
        beyond,
    )


async def _in_the_book(wanted: _List, mark: _Mark) -> _Batch:
    def look(reading: Reading) -> _Batch:
        place = None
        if mark.last is not None:
            before = lookup.get(reading, OperationId(mark.last))
            if before is None:
                raise bad_cursor()
            place = (before.created_at, before.id)
        found = chats.threads(reading, wanted.project_id, place, wanted.size)
        marks = [_Mark(_Section.BOOK, last=one.newest.id) for one in found]
        return _Batch(
            [
                (mark, _our_line(reading, one.newest, archived=one.is_archived))
                for mark, one in zip(marks, found, strict=True)
                if one.newest.thread_id not in wanted.busy
                and (wanted.include_archived or not one.is_archived)
            ],
            marks[-1] if len(found) == wanted.size else None,
        )

    return await wanted.sources.book.read(look)


_BATCHES: Final[Mapping[_Section, Callable[[_List, _Mark], Awaitable[_Batch]]]] = {
    _Section.AT_WORK: _at_work,
    _Section.LISTED: _listed,
    _Section.ARCHIVED: _listed,
    _Section.BOOK: _in_the_book,
}


async def _running(sources: Sources) -> list[Thread]:
    """The threads of Codex in which a turn is active."""
    library = sources.runtime.library()
    if library is None:
        return []
    found: list[Thread] = []
    try:
        for id_ in (await asked(library.loaded))[:MOST_LOADED]:
            with suppress(NotThere):  # it has gone since
                found.append(await asked(partial(library.thread, id_)))
    except NoWord:
        pass  # what was seen until then is true all the same
    return [thread for thread in found if thread.status.kind == "active"]


# --- Lines ---------------------------------------------------------------------------------------


def _codex_line(thread: Thread, project_id: ProjectId, *, archived: bool) -> views_chats.ChatLine:
    return views_chats.ChatLine(
        chat_id=thread.id,
        project_id=project_id,
        title=title(thread, None),
        status=status_word(thread, None),
        archived=archived,
        last_activity_at=moment(thread.updated_at),
        operation_id=None,
        source=APP_SERVER,
    )


def _lines_of(ids: Sequence[OperationId], reading: Reading) -> list[views_chats.ChatLine]:
    return [_our_line(reading, one, archived=False) for one in lookup.many(reading, ids)]


def _our_line(reading: Reading, operation: Operation, *, archived: bool) -> views_chats.ChatLine:
    thread_id = operation.thread_id
    first = chats.first_in_thread(reading, thread_id) if thread_id else operation
    return views_chats.ChatLine(
        chat_id=thread_id,
        project_id=operation.request.project_id,
        title=title(None, first),
        status=status_word(None, None if operation.is_final else operation),
        archived=archived,
        last_activity_at=operation.updated_at,
        operation_id=None if operation.is_final else operation.id,
        source=TRACKED_TURN,
    )


def _line_weight(line: views_chats.ChatLine) -> int:
    return LINE_FRAME + len(line.chat_id or "") + weight(line.title)


# --- Cursors -------------------------------------------------------------------------------------


def _packed(mark: _Mark, project_id: ProjectId) -> str:
    return packed([mark.section, mark.page, mark.last], project_id)


def _unpacked(cursor: str, project_id: ProjectId) -> _Mark:
    match unpacked(cursor, project_id):
        case [("w" | "c" | "a" | "b") as section, None | str() as page, None | str() as last]:
            return _Mark(_Section(section), page, last)
        case _:
            raise bad_cursor()
