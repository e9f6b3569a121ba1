"""Finds out whether a turn that we asked for was accepted, when nobody answered.

Only the app-server that owns the thread is a witness: a second one on the same CODEX_HOME says
`interrupted` of turns that are running well. Who the owner is, the caller has made sure of.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import anyio

from codex_control_plane_mcp.codex.words.things import Page, Turn, UserMessage
from codex_control_plane_mcp.codex.words.verbs import ListTurns
from codex_control_plane_mcp.model.ids import OperationId, ThreadId, TurnId
from codex_control_plane_mcp.model.operation import Intent

#: A turn shows up in the thread within milliseconds of its acceptance, its first message a moment
#: later; a loaded machine needs longer. Asking too early would start a second turn.
SETTLE_SECONDS = 2.0
#: Turns to look at: since the intent only we have written to the thread, or one person beside us.
TURNS_TO_READ = 20
#: Turns that may have come after a known one until somebody looked for it again.
LATER_TURNS = 100


class Witness(Protocol):
    """What of a session is needed here."""

    async def list_turns(self, verb: ListTurns) -> Page[Turn]: ...


@dataclass(frozen=True, slots=True)
class Found:
    """The turn is there."""

    turn_id: TurnId
    #: As it is listed; while a review runs, that is its child.
    turn: Turn
    #: How we know, for the journal.
    how: str


Find = Callable[[Turn, OperationId], Found | None]


async def find_turn(
    witness: Witness, operation_id: OperationId, thread_id: ThreadId, intent: Intent, find: Find
) -> Found | None:
    """The turn that came of `intent`, as `find` knows it; None when it surely was not accepted.

    Looks twice, with time to settle between: a turn that was accepted a moment ago may not be in
    the list yet, or be there without what proves whose it is.
    """
    found = await _look(witness, operation_id, thread_id, intent, find)
    if found is None or not found.turn.items:
        await anyio.sleep(SETTLE_SECONDS)
        found = await _look(witness, operation_id, thread_id, intent, find)
    return found


async def _look(
    witness: Witness, operation_id: OperationId, thread_id: ThreadId, intent: Intent, find: Find
) -> Found | None:
    page = await witness.list_turns(
        ListTurns(thread_id, limit=TURNS_TO_READ, items_view="full", sort_direction="desc")
    )
    nameless: Found | None = None
    for turn in page.data:
        if turn.id == intent.last_turn_id:
            break
        if (found := find(turn, operation_id)) is not None:
            return found
        if nameless is None and not messages_of(turn):
            how = "it is newer than the last turn before the request"
            nameless = Found(turn.id, turn, how)
    return nameless


async def newest_turn(
    witness: Witness, thread_id: ThreadId, items_view: Literal["notLoaded", "full"] = "notLoaded"
) -> Turn | None:
    """The last turn of a thread."""
    page = await witness.list_turns(ListTurns(thread_id, limit=1, items_view=items_view))
    return page.data[0] if page.data else None


async def read_turn(witness: Witness, thread_id: ThreadId, turn_id: TurnId) -> Turn | None:
    """A turn as Codex has it on record, with all its items; None where it has none. Of a review
    that has not come to its end there is only the child turn that it runs in."""
    page = await witness.list_turns(ListTurns(thread_id, limit=LATER_TURNS, items_view="full"))
    child = None
    for turn in page.data:
        if turn.id == turn_id:
            return turn
        if child is None and turn.root_turn_id == turn_id:
            child = turn
    return child


def messages_of(turn: Turn) -> list[UserMessage]:
    """What users said in a turn: its first message, and words it was steered with."""
    return [item for item in turn.items if isinstance(item, UserMessage)]


def is_ours(client_id: str | None, operation_id: OperationId) -> bool:
    """Whether a message bears the id of any attempt of this operation."""
    return client_id is not None and client_id.partition(".")[0] == operation_id
