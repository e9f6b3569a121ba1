"""Adds words to a turn that runs, once.

The same care as for a turn: the wish is on record first, and in doubt the turn is read for a
message that bears our id. There is nothing to follow: it is done when Codex has taken the words.
"""

import anyio

from codex_control_plane_mcp.codex.errors import (
    CodexError,
    NoActiveTurn,
    Overloaded,
    Refused,
    ShuttingDown,
    WrongActiveTurn,
)
from codex_control_plane_mcp.codex.session import CodexSession
from codex_control_plane_mcp.codex.words.things import Turn
from codex_control_plane_mcp.codex.words.verbs import ResumeThread
from codex_control_plane_mcp.codex.words.verbs import SteerTurn as Steer
from codex_control_plane_mcp.errors import SendFailed, TurnNotFound
from codex_control_plane_mcp.model.operation import (
    Completed,
    Failed,
    Report,
    Status,
    ThreadBound,
    Trouble,
    TurnAccepted,
    TurnIntended,
)
from codex_control_plane_mcp.model.request import SteerTurn
from codex_control_plane_mcp.work.case import Case
from codex_control_plane_mcp.work.evidence import SETTLE_SECONDS, is_ours, messages_of, read_turn
from codex_control_plane_mcp.work.inputs import input_of, missing

TAKEN = "Codex took the message into the running turn."


class StillUnanswered(CodexError):
    """Codex has the request, and has neither accepted nor refused it: asked again, it might carry
    out both."""

    def __init__(self, method: str) -> None:
        super().__init__(f"Codex has not answered {method} yet; it is not asked a second time")


async def steer(
    case: Case, request: SteerTurn, session: CodexSession, *, owes_answer: bool
) -> None:
    """Have Codex take the words, or find that the turn has ended.

    `owes_answer`: this session was asked already and is still up. Raises CodexError when it is not
    known whether the words were taken: call again.
    """
    if case.operation.status is Status.STARTING_THREAD:
        await case.record(
            ThreadBound(request.thread_id, session.app_server.id, None),
            TurnIntended(request.expected_turn_id),
        )
    elif await _settled(case, request, session, owes_answer=owes_answer):
        return
    if (why := missing(request.attachments)) is not None:
        await case.end(Failed(Trouble(SendFailed.code, why)))
        return
    intent = case.operation.intent
    assert intent is not None  # noqa: S101  # recorded above
    try:
        await session.steer_turn(
            Steer(
                request.thread_id,
                request.expected_turn_id,
                input_of(request.message, request.attachments),
                client_user_message_id=intent.client_message_id,
            )
        )
    except (NoActiveTurn, WrongActiveTurn):
        await _too_late(case, request)
    except (ShuttingDown, Overloaded):
        raise
    except Refused as error:
        await case.end(Failed(Trouble(SendFailed.code, str(error))))
    else:
        await _taken(case, request, "turn/steer answered")


async def _settled(
    case: Case, request: SteerTurn, session: CodexSession, *, owes_answer: bool
) -> bool:
    """Find out whether words that may have been sent were taken. False: they were not, and the
    wish to send them again is on record."""
    await session.resume_thread(ResumeThread(request.thread_id))
    turn = await read_turn(session, request.thread_id, request.expected_turn_id)
    if not _holds(turn, case):
        await anyio.sleep(SETTLE_SECONDS)
        turn = await read_turn(session, request.thread_id, request.expected_turn_id)
    if _holds(turn, case):
        await _taken(case, request, "the turn holds the message of this operation")
        return True
    if turn is None or turn.status != "inProgress":
        await _too_late(case, request)
        return True
    if owes_answer:
        raise StillUnanswered("turn/steer")
    await case.record(TurnIntended(request.expected_turn_id))
    return False


def _holds(turn: Turn | None, case: Case) -> bool:
    return turn is not None and any(
        is_ours(message.client_id, case.operation.id) for message in messages_of(turn)
    )


async def _taken(case: Case, request: SteerTurn, how: str) -> None:
    turn_id = request.expected_turn_id
    await case.end(TurnAccepted(turn_id, how), Completed(Report(TAKEN, turn_id)))


async def _too_late(case: Case, request: SteerTurn) -> None:
    why = f"turn {request.expected_turn_id} is not running any more; send_message starts a new one"
    await case.end(Failed(Trouble(TurnNotFound.code, why)))
