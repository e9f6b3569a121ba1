"""What Codex can be asked about its threads, by whoever only wants to read.

One look each, over a session that is there already. Nothing is started or resumed.
"""

from codex_control_plane_mcp.codex.errors import NotSupported
from codex_control_plane_mcp.codex.session import CodexSession
from codex_control_plane_mcp.codex.words.things import Page, Thread, Turn
from codex_control_plane_mcp.codex.words.verbs import ListItems, ListThreads, ListTurns
from codex_control_plane_mcp.model.ids import ThreadId
from codex_control_plane_mcp.model.transcript import Leaf

#: Codex gives no more at once.
PAGE = 100
#: Anchors say which list they are of: the two do not understand each other's.
_ITEMS, _TURNS = "i", "t"


class CodexLibrary:
    """Every method raises CodexError."""

    def __init__(self, session: CodexSession) -> None:
        self._session = session

    async def thread(self, thread_id: ThreadId) -> Thread:
        """Raises ThreadNotFound."""
        return await self._session.read_thread(thread_id)

    async def threads(self, *, archived: bool, cursor: str | None) -> Page[Thread]:
        """Those last worked in first."""
        return await self._session.list_threads(
            ListThreads(archived=archived, limit=PAGE, cursor=cursor)
        )

    async def loaded(self) -> tuple[ThreadId, ...]:
        """Threads in memory: whatever runs is among them."""
        return await self._session.list_loaded_threads()

    async def turns(self, thread_id: ThreadId, cursor: str | None) -> Page[Turn]:
        """Newest first, each with its question and its answer."""
        return await self._session.list_turns(
            ListTurns(thread_id, limit=PAGE, cursor=cursor, items_view="summary")
        )

    async def leaf(self, thread_id: ThreadId, anchor: str | None, *, back: bool) -> Leaf:
        """A part of what stands in a thread, from `anchor` on or from the end that is not `back`.

        By items; by turns where a thread's history or this Codex knows no other way.
        """
        if anchor is not None and anchor.startswith(_TURNS):
            return await self._turn(thread_id, anchor[1:], back=back)
        try:
            return await self._items(thread_id, anchor[1:] if anchor else None, back=back)
        except NotSupported:
            return await self._turn(thread_id, None, back=back)

    async def _items(self, thread_id: ThreadId, cursor: str | None, *, back: bool) -> Leaf:
        page = await self._session.list_entries(
            ListItems(
                thread_id, limit=PAGE, cursor=cursor, sort_direction="desc" if back else "asc"
            )
        )
        return Leaf(
            page.data[::-1] if back else page.data,
            _marked(_ITEMS, page.backwards_cursor),
            _marked(_ITEMS, page.next_cursor),
        )

    async def _turn(self, thread_id: ThreadId, cursor: str | None, *, back: bool) -> Leaf:
        page = await self._session.list_turn_entries(
            ListTurns(
                thread_id,
                limit=1,
                cursor=cursor,
                items_view="full",
                sort_direction="desc" if back else "asc",
            )
        )
        entries = [entry for turn in page.data for entry in turn]
        return Leaf(
            entries,
            _marked(_TURNS, page.backwards_cursor),
            _marked(_TURNS, page.next_cursor),
            shared=len(entries),
        )


def _marked(mark: str, cursor: str | None) -> str | None:
    return None if cursor is None else mark + cursor
