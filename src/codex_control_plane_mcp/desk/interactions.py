"""Questions of Codex to people: shown, listed, and answered once.

An answer is checked against what Codex offers, stored as a wish, and then followed for a moment,
so that the caller mostly learns whether Codex got it. Delivering it is the workshop's.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass

import anyio

from codex_control_plane_mcp.codex.answering import build_answer, decisions_on_offer, request_of
from codex_control_plane_mcp.codex.words.answers import NotOnOffer
from codex_control_plane_mcp.desk import views
from codex_control_plane_mcp.desk.workflows.standing import found as workflow_found
from codex_control_plane_mcp.errors import (
    InteractionNotFound,
    InteractionUnavailable,
    InvalidArgument,
)
from codex_control_plane_mcp.model.ids import InteractionId, OperationId
from codex_control_plane_mcp.model.interaction import Asked, Interaction, InteractionStatus
from codex_control_plane_mcp.store import interactions, operations, wishes
from codex_control_plane_mcp.store.bell import Subject
from codex_control_plane_mcp.store.book import Book, Reading, Writing
from codex_control_plane_mcp.store.interactions import Search
from codex_control_plane_mcp.store.wishes import Outcome

#: The workshop delivers within milliseconds; a caller is kept this long at most.
DELIVERY_SECONDS = 5.0


# --- Showing -------------------------------------------------------------------------------------


def show(interaction: Interaction) -> views.InteractionView:
    asked = interaction.asked
    return views.InteractionView(
        interaction_id=interaction.id,
        kind=asked.kind,
        method=asked.method,
        operation_id=interaction.operation_id,
        thread_id=asked.thread_id,
        turn_id=asked.turn_id,
        prompt=asked.prompt,
        command=asked.command,
        cwd=asked.cwd,
        reason=asked.reason,
        available_decisions=asked.available_decisions,
        questions=tuple(
            views.QuestionView(
                id=question.id,
                header=question.header,
                question=question.text,
                options=tuple(
                    views.OptionView(option.label, option.description)
                    for option in question.options
                ),
                is_secret=question.is_secret,
            )
            for question in asked.questions
        ),
        risk_summary=asked.risk_summary,
        status=interaction.status,
        created_at=interaction.created_at,
        expires_at=interaction.expires_at,
        answered_by=interaction.answered_by,
        details=_details(asked),
    )


#: What a person needs beside the shown fields to judge, or to fill in a form.
_TELLING = (
    "permissions",
    "requestedSchema",
    "serverName",
    "mode",
    "url",
    "_meta",
    "fileChanges",
    "additionalPermissions",
    "networkApprovalContext",
    "grantRoot",
)


def _details(asked: Asked) -> Mapping[str, object] | None:
    raw = asked.details if isinstance(asked.details, dict) else {}
    return {key: raw[key] for key in _TELLING if raw.get(key) is not None} or None


# --- Listing -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Page:
    search: Search
    limit: int = 20
    cursor: str | None = None


def listed(reading: Reading, page: Page) -> views.InteractionList:
    """One page, oldest first. Raises InvalidArgument for a cursor that is none of ours,
    WorkflowNotFound."""
    if page.search.workflow_id is not None:
        workflow_found(reading, page.search.workflow_id)
    behind = None if page.cursor is None else _behind(page.cursor)
    rows = interactions.listed(reading, page.search, behind=behind, limit=page.limit + 1)
    seen, more = rows[: page.limit], len(rows) > page.limit
    if page.search.status is InteractionStatus.PENDING:
        on_their_way = wishes.answers_on_their_way(reading)
        shown = [one for one in seen if one.id not in on_their_way]
    else:
        shown = seen
    return views.InteractionList(
        tuple(show(interaction) for interaction in shown),
        cursor_behind(show(seen[-1])) if more else None,
    )


def cursor_behind(interaction: views.InteractionView) -> str:
    """Where a page goes on that ended with this one."""
    place = json.dumps([interaction.created_at, interaction.interaction_id])
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def _behind(cursor: str) -> tuple[int, str]:
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        place: object = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        match place:
            case [int(created_at), str(interaction_id)]:
                return created_at, interaction_id
            case _:
                pass
    except (ValueError, binascii.Error):
        pass
    raise InvalidArgument(
        "cursor is none that codex_list_pending_interactions gave; leave it out to start anew",
        field="cursor",
    )


# --- Answering -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Given:
    """An answer as the caller gave it, and who that is."""

    interaction_id: InteractionId
    #: `{decision}`, `{answers}`, `{permissions, scope}` or `{action, content}`.
    answer: Mapping[str, object]
    by: str


async def answer_once(book: Book, given: Given) -> views.AnswerReceipt:
    """Store the answer, and wait a moment for Codex to get it.

    Raises InteractionNotFound, InteractionUnavailable when another answer was first or none is
    wanted any more, InvalidArgument when it is not on offer.
    """
    interaction = await book.read(lambda reading: _open(reading, given.interaction_id))
    _check_offer(interaction.asked, given.answer)
    with book.bell.listening(interaction.operation_id, about=Subject.FACT) as listener:
        await book.write(lambda writing: _wish(writing, given, interaction.operation_id))
        delivered = False
        with anyio.move_on_after(DELIVERY_SECONDS):
            while not (delivered := await book.read(lambda reading: _is_through(reading, given))):
                await listener.wait()
    return views.AnswerReceipt(
        interaction_id=interaction.id,
        operation_id=interaction.operation_id,
        thread_id=interaction.asked.thread_id,
        turn_id=interaction.asked.turn_id,
        status=InteractionStatus.ANSWERED if delivered else InteractionStatus.PENDING,
        answered_by=given.by,
        delivered=delivered,
        next_recommended_action="wait",
    )


def still_open(reading: Reading, interaction_id: InteractionId) -> views.InteractionView | None:
    """A question, as long as it can be answered."""
    try:
        return show(_open(reading, interaction_id))
    except (InteractionNotFound, InteractionUnavailable):
        return None


def _check_offer(asked: Asked, answer: Mapping[str, object]) -> None:
    try:
        request = request_of(asked)
    except ValueError as error:
        raise InteractionUnavailable(f"it cannot be answered here: {error}") from error
    try:
        build_answer(request, answer)
    except NotOnOffer as error:
        raise InvalidArgument(
            str(error),
            kind=asked.kind.value,
            availableDecisions=list(decisions_on_offer(request)),
            questionIds=[question.id for question in asked.questions],
        ) from error


def _open(reading: Reading, interaction_id: InteractionId) -> Interaction:
    interaction = interactions.get(reading, interaction_id)
    if interaction is None:
        raise InteractionNotFound(
            f"there is no interaction {interaction_id}; codex_list_pending_interactions shows "
            "those that wait",
            interactionId=interaction_id,
        )
    if interaction.status is not InteractionStatus.PENDING:
        raise _closed(interaction)
    if (newest := wishes.newest_answer(reading, interaction_id)) is not None:
        by, outcome = newest
        if outcome in (None, Outcome.DONE):
            raise _answered_before(interaction, by)
    return interaction


def _wish(writing: Writing, given: Given, operation_id: OperationId) -> None:
    # While its operation is held nobody closes it.
    operations.held(writing, [operation_id])
    interaction = _open(writing.connection, given.interaction_id)
    made = wishes.wish_answer(
        writing, interaction.operation_id, interaction.id, dict(given.answer), given.by
    )
    if not made:  # another process was first, at the same moment
        newest = wishes.newest_answer(writing.connection, interaction.id)
        raise _answered_before(interaction, "somebody else" if newest is None else newest[0])


def _is_through(reading: Reading, given: Given) -> bool:
    """Whether Codex has our answer. Raises when it never will."""
    newest = wishes.newest_answer(reading, given.interaction_id)
    interaction = interactions.get(reading, given.interaction_id)
    if interaction is None or newest is None:
        return False
    outcome = newest[1]
    match interaction.status:
        case InteractionStatus.ANSWERED if interaction.answered_by == given.by:
            return True
        case InteractionStatus.ANSWERED:
            raise _closed(interaction)
        case InteractionStatus.PENDING if outcome is Outcome.REFUSED:
            raise InteractionUnavailable(
                "Codex would not take this answer; look at the question again and give another",
                interactionId=interaction.id,
            )
        case InteractionStatus.PENDING:
            return False
        case (
            InteractionStatus.AUTO_DECLINED
            | InteractionStatus.EXPIRED
            | InteractionStatus.WITHDRAWN
        ):
            raise _closed(interaction)


def _closed(interaction: Interaction) -> InteractionUnavailable:
    said = {
        InteractionStatus.ANSWERED: f"it was answered by {interaction.answered_by or 'somebody'}",
        InteractionStatus.AUTO_DECLINED: "nobody answered in time, and Codex was told no",
        InteractionStatus.EXPIRED: "nobody answered in time",
        InteractionStatus.WITHDRAWN: "Codex waits for no answer to it any more",
    }
    return InteractionUnavailable(
        f"{said[interaction.status]}; this answer was not given to Codex",
        interactionId=interaction.id,
        status=interaction.status.value,
        answeredBy=interaction.answered_by,
    )


def _answered_before(interaction: Interaction, by: str) -> InteractionUnavailable:
    return InteractionUnavailable(
        f"it was answered by {by}; this answer was not given to Codex",
        interactionId=interaction.id,
        status=interaction.status.value,
        answeredBy=by,
    )
