"""A stand-in for what Codex says of its threads, with lists that are turned as Codex turns them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from codex_control_plane_mcp.codex.errors import CodexError, HistoryNotReady, Refused
from codex_control_plane_mcp.codex.errors import ThreadNotFound as NoSuchThread
from codex_control_plane_mcp.codex.words.things import Page, Thread, Turn, read_thread
from codex_control_plane_mcp.model.ids import ThreadId, TurnId
from codex_control_plane_mcp.model.transcript import Entry, Leaf, Role

NOON = 1_767_225_600


def a_thread(id_: str, cwd: object, **fields: Any) -> Thread:
    told = {"id": id_, "cwd": str(cwd), "preview": f"about {id_}", "updatedAt": NOON, **fields}
    return read_thread({"status": {"type": "idle"}, **told})


def said(number: int, text: str, role: Role = Role.ASSISTANT, turn: str = "u-1") -> Entry:
    return Entry(f"item-{number}", TurnId(turn), role, text)


@dataclass
class Shelf:
    """A list read in leaves of `size` entries, or one of each turn. An anchor is a number."""

    entries: list[Entry]
    size: int = 7
    by_turns: bool = False
    source: str = "app_server"

    async def leaf(self, anchor: str | None, *, back: bool) -> Leaf:
        units = self._units()
        if not units:
            return Leaf((), None, None)
        at = int(anchor) if anchor is not None else len(units) - 1 if back else 0
        if not 0 <= at < len(units):
            raise Refused(-32600, "invalid cursor")
        count = 1 if self.by_turns else self.size
        first, last = (max(0, at - count + 1), at) if back else (at, at + count - 1)
        beyond = first - 1 if back else last + 1
        return Leaf(
            [entry for unit in units[first : last + 1] for entry in unit],
            str(at),
            str(beyond) if 0 <= beyond < len(units) else None,
            shared=len(units[at]),
        )

    def _units(self) -> list[list[Entry]]:
        if not self.by_turns:
            return [[entry] for entry in self.entries]
        turns: dict[object, list[Entry]] = {}
        for entry in self.entries:
            turns.setdefault(entry.turn_id, []).append(entry)
        return list(turns.values())


@dataclass
class Shelves:
    """A `Library`."""

    listed: list[Thread] = field(default_factory=list)
    archived: list[Thread] = field(default_factory=list)
    #: Known, but in no list: ephemeral threads, forks in which nothing was said.
    unlisted: list[Thread] = field(default_factory=list)
    shelves: dict[ThreadId, Shelf] = field(default_factory=dict)
    turned: dict[ThreadId, list[Turn]] = field(default_factory=dict)
    in_memory: tuple[ThreadId, ...] = ()
    page: int = 3
    #: What every question is answered with.
    trouble: CodexError | None = None

    async def thread(self, thread_id: ThreadId) -> Thread:
        self._answer()
        for thread in (*self.listed, *self.archived, *self.unlisted):
            if thread.id == thread_id:
                return thread
        raise NoSuchThread(-32600, "thread not loaded")

    async def threads(self, *, archived: bool, cursor: str | None) -> Page[Thread]:
        self._answer()
        return self._paged(self.archived if archived else self.listed, cursor)

    async def loaded(self) -> Sequence[ThreadId]:
        self._answer()
        return self.in_memory

    async def turns(self, thread_id: ThreadId, cursor: str | None) -> Page[Turn]:
        self._answer()
        return self._paged(self.turned.get(thread_id, []), cursor)

    async def leaf(self, thread_id: ThreadId, anchor: str | None, *, back: bool) -> Leaf:
        self._answer()
        if thread_id not in self.shelves:
            raise HistoryNotReady(-32601, "not materialized yet")
        return await self.shelves[thread_id].leaf(anchor, back=back)

    def add(self, thread: Thread, *entries: Entry) -> None:
        self.listed.insert(0, thread)
        self.shelves[thread.id] = Shelf(list(entries))

    def _paged(self, found: Sequence[Any], cursor: str | None) -> Page[Any]:
        first = int(cursor or 0)
        last = first + self.page
        return Page(tuple(found[first:last]), str(last) if last < len(found) else None)

    def _answer(self) -> None:
        if self.trouble is not None:
            raise self.trouble
