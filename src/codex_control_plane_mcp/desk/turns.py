"""A turn: how it went, whoever began it."""

from functools import partial
from typing import Final

from codex_control_plane_mcp.codex.words.things import Turn
from codex_control_plane_mcp.desk import views_chats
from codex_control_plane_mcp.desk.chats import Chat, Sources, find, moment
from codex_control_plane_mcp.desk.records import APP_SERVER, TRACKED_TURN, NoWord, asked
from codex_control_plane_mcp.desk.status import MESSAGE_PARTS, last_error, lines
from codex_control_plane_mcp.desk.submit import MAX_NAME_CHARS
from codex_control_plane_mcp.desk.texts import end_of, plain
from codex_control_plane_mcp.desk.views import LastError
from codex_control_plane_mcp.errors import TurnNotFound
from codex_control_plane_mcp.model.ids import ThreadId, TurnId
from codex_control_plane_mcp.model.journal import Category
from codex_control_plane_mcp.model.operation import Operation, Status
from codex_control_plane_mcp.redact import redact
from codex_control_plane_mcp.store import chats, journal, lookup
from codex_control_plane_mcp.store.book import Reading

#: How much is shown of what an agent said last.
MESSAGE_CHARS: Final = 1_000
#: Turns are looked through, newest first, in so many pages of Codex's.
TURN_PAGES: Final = 20


async def status(
    sources: Sources, turn_id: TurnId, thread_id: ThreadId | None
) -> views_chats.TurnStatus:
    """Raises TurnNotFound and ThreadNotFound."""
    plain("turn_id", turn_id, MAX_NAME_CHARS)

    def look(reading: Reading) -> Operation | None:
        if thread_id is None:
            return chats.by_turn_alone(reading, turn_id)
        return lookup.by_turn(reading, thread_id, turn_id)

    operation = await sources.book.read(look)
    if thread_id is None and operation is not None:
        thread_id = operation.thread_id
    if thread_id is None:
        raise _no_turn(turn_id, "no task of this control plane had it; give its thread_id as well")
    chat = await find(sources, thread_id)
    if operation is not None and operation.status is not Status.UNKNOWN:
        return await sources.book.read(lambda reading: _our_turn(reading, chat, operation))
    found = await _codex_turn(sources, chat, turn_id)
    if found is not None:
        return _codex_view(chat, found)
    if operation is not None:
        return await sources.book.read(lambda reading: _our_turn(reading, chat, operation))
    raise _no_turn(turn_id, f"it is not in chat {chat.id}, as far as that can be seen now")


async def _codex_turn(sources: Sources, chat: Chat, turn_id: TurnId) -> Turn | None:
    library, cursor = sources.runtime.library(), None
    if library is None or chat.thread is None:
        return None
    for _ in range(TURN_PAGES):
        try:
            page = await asked(partial(library.turns, chat.id, cursor))
        except NoWord:
            return None
        if (found := next((one for one in page.data if one.id == turn_id), None)) is not None:
            return found
        cursor = page.next_cursor
        if cursor is None:
            return None
    return None


def _our_turn(reading: Reading, chat: Chat, operation: Operation) -> views_chats.TurnStatus:
    assert operation.turn_id is not None  # noqa: S101  # that is how it was found
    text = operation.report.text if operation.report else _latest_words(reading, operation)
    message, is_cut = end_of(text, MESSAGE_CHARS)
    return views_chats.TurnStatus(
        turn_id=operation.turn_id,
        chat_id=chat.id,
        project_id=chat.project_id,
        status=operation.status.value,
        started_at=operation.started_at,
        completed_at=operation.completed_at,
        latest_message=message or None,
        message_truncated=is_cut,
        operation=lines(reading, [operation])[0],
        last_error=last_error(operation),
        source=TRACKED_TURN,
    )


def _latest_words(reading: Reading, operation: Operation) -> str:
    """The end of what the agent says, as far as it is written down."""
    parts = journal.newest(reading, operation.id, MESSAGE_PARTS[0], Category.ASSISTANT)
    return "".join(part.text for part in parts if part.item_id == parts[-1].item_id)


def _codex_view(chat: Chat, found: Turn) -> views_chats.TurnStatus:
    said = found.final_message
    message, is_cut = end_of(redact(said.text) if said else "", MESSAGE_CHARS)
    error = found.error
    return views_chats.TurnStatus(
        turn_id=found.id,
        chat_id=chat.id,
        project_id=chat.project_id,
        status="running" if found.status == "inProgress" else found.status,
        started_at=moment(found.started_at),
        completed_at=moment(found.completed_at),
        latest_message=message or None,
        message_truncated=is_cut,
        operation=None,
        last_error=LastError(error.code or "codex", error.message) if error else None,
        source=APP_SERVER,
    )


def _no_turn(turn_id: TurnId, why: str) -> TurnNotFound:
    return TurnNotFound(
        f"there is no turn {turn_id}: {why}; codex_get_chat names the turns of a chat",
        turnId=turn_id,
    )
