"""What a run has left: in the clients' hands, in the book, in Codex, at the model, on the disk.

Only gathered here; `promises` judges it.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import anyio
import anyio.to_thread

from codex_control_plane_mcp.codex.errors import CodexError
from codex_control_plane_mcp.codex.session import CodexSession
from codex_control_plane_mcp.codex.words.things import Turn
from codex_control_plane_mcp.codex.words.verbs import ListTurns
from codex_control_plane_mcp.model.ids import OperationId, ThreadId
from codex_control_plane_mcp.model.interaction import Interaction
from codex_control_plane_mcp.model.journal import Written
from codex_control_plane_mcp.model.operation import Operation
from codex_control_plane_mcp.scripted_model import RecordedRequest
from codex_control_plane_mcp.selftest.real.fleet import Fleet, Followed
from codex_control_plane_mcp.selftest.real.stage import Killed, Stage
from codex_control_plane_mcp.store import interactions, journal, lookup, wishes
from codex_control_plane_mcp.store.book import Book, Reading
from codex_control_plane_mcp.store.engine import open_sqlite
from codex_control_plane_mcp.store.interactions import Search
from codex_control_plane_mcp.store.wishes import Wish

T = TypeVar("T")

#: Operations whose submission was never acknowledged may still be under way.
SETTLE_SECONDS = 60.0
PAUSE_SECONDS = 0.05
#: Turns of one thread asked for at once; more are asked for by their cursor.
TURNS_A_PAGE = 50
PLENTY = 10_000_000


@dataclass(frozen=True, slots=True)
class Evidence:
    followed: Sequence[Followed]
    #: Calls that were never answered.
    unanswered: Sequence[str]
    operations: Sequence[Operation]
    interactions: Sequence[Interaction]
    open_wishes: Sequence[Wish]
    journals: Mapping[OperationId, Sequence[Written]]
    #: Every turn of every thread that an operation had, as Codex has it.
    threads: Mapping[ThreadId, Sequence[Turn]]
    #: Threads that Codex would not show, and why.
    unreadable: Mapping[ThreadId, str]
    requests: Sequence[RecordedRequest]
    #: By the key of a task: the lines that its command left.
    effects: Mapping[str, int]
    killed: Sequence[Killed]
    #: Processes that ran on after the end.
    left_running: list[str] = field(default_factory=list)

    @property
    def by_status(self) -> Mapping[str, int]:
        return Counter(operation.status.value for operation in self.operations)


async def gather(stage: Stage, fleet: Fleet) -> Evidence:
    """Read everything, once the book has settled. Nothing is written."""
    with anyio.move_on_after(SETTLE_SECONDS):
        await _settled(stage)
    found = await _read(stage, lookup.every)
    threads, unreadable = await _threads(stage, found)
    return Evidence(
        followed=fleet.followed,
        unanswered=fleet.unanswered,
        operations=found,
        interactions=await _read(stage, _interactions),
        open_wishes=await _read(stage, wishes.open_wishes),
        journals=await _read(stage, lambda reading: _journals(reading, found)),
        threads=threads,
        unreadable=unreadable,
        requests=stage.model.requests,
        effects={one.task.key: _lines(stage, one) for one in fleet.followed},
        killed=tuple(stage.killed),
    )


async def _settled(stage: Stage) -> None:
    while True:
        if not await _read(stage, lookup.unfinished):
            return
        await anyio.sleep(PAUSE_SECONDS)


async def _read(stage: Stage, work: Callable[[Reading], T]) -> T:
    def read() -> T:
        book = Book(*open_sqlite(stage.state_db))
        try:
            return book.read_now(work)
        finally:
            book.close()

    return await anyio.to_thread.run_sync(read)


def _interactions(reading: Reading) -> list[Interaction]:
    return interactions.listed(reading, Search(status=None), behind=None, limit=PLENTY)


def _journals(reading: Reading, found: Sequence[Operation]) -> dict[OperationId, Sequence[Written]]:
    return {one.id: journal.after(reading, one.id, 0, PLENTY) for one in found}


async def _threads(
    stage: Stage, found: Sequence[Operation]
) -> tuple[dict[ThreadId, Sequence[Turn]], dict[ThreadId, str]]:
    """Codex's own word, over a connection of our own."""
    threads: dict[ThreadId, Sequence[Turn]] = {}
    unreadable: dict[ThreadId, str] = {}
    async with stage.supervisor().connect() as session:
        for thread_id in sorted({one.thread_id for one in found if one.thread_id is not None}):
            try:
                threads[thread_id] = await _turns(session, thread_id)
            except CodexError as error:
                unreadable[thread_id] = str(error)
    return threads, unreadable


async def _turns(session: CodexSession, thread_id: ThreadId) -> list[Turn]:
    turns: list[Turn] = []
    cursor: str | None = None
    while True:
        page = await session.list_turns(
            ListTurns(thread_id, limit=TURNS_A_PAGE, cursor=cursor, items_view="full")
        )
        turns += page.data
        cursor = page.next_cursor
        if cursor is None:
            return turns


def _lines(stage: Stage, one: Followed) -> int:
    file = one.task.effect(stage.effects)
    return len(file.read_text(encoding="utf-8").splitlines()) if file.exists() else 0
