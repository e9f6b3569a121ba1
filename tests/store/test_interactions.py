"""Questions of Codex on record: asked once, ended once, told apart by process and request."""

from dataclasses import replace

import pytest

from codex_control_plane_mcp.clock import later
from codex_control_plane_mcp.model.ids import (
    AppServerId,
    InteractionId,
    OperationId,
    ThreadId,
    TurnId,
    new_interaction_id,
)
from codex_control_plane_mcp.model.interaction import (
    CLOSED,
    Asked,
    Interaction,
    InteractionStatus,
    Kind,
    Option,
    Question,
)
from codex_control_plane_mcp.store import interactions
from codex_control_plane_mcp.store.interactions import Search
from tests.store.actors import NOON, Desk, a_question

RICH = Asked(
    app_server_id=AppServerId("app-server-1"),
    request_id='"seven"',
    kind=Kind.USER_INPUT,
    method="item/tool/requestUserInput",
    thread_id=ThreadId("thread-1"),
    turn_id=None,
    item_id=None,
    prompt="Which roof?\x00\ud800",
    command="ls 'a b'",
    cwd="/work/house",
    reason="because",
    available_decisions=("accept", {"acceptWithAmendment": {"words": ["a", "b"]}}, None, 1),
    questions=(
        Question("q1", "Roof", "Which?", (Option("Red", "a red one"), Option("Blue", ""))),
        Question("q2", "Key", "What is it?", is_secret=True),
    ),
    risk_summary="none",
    details={"schema": {"type": "object"}, "files": ["a", "b"], "n": 1.5},
)


def close(desk: Desk, interaction: Interaction, status: InteractionStatus, by: str) -> bool:
    return desk.write(
        lambda writing: interactions.close_interaction(
            writing, interaction, status, answered_by=by, answer={"by": by}
        )
    )


@pytest.mark.parametrize("asked", [a_question(), RICH], ids=["plain", "rich"])
def test_what_was_asked_reads_back_equal(desk: Desk, asked: Asked) -> None:
    operation = desk.submit()
    interaction = desk.write(
        lambda writing: interactions.open_interaction(
            writing, new_interaction_id(NOON), operation.id, asked, later(NOON, 60)
        )
    )
    assert interaction.asked == asked
    assert interaction.status is InteractionStatus.PENDING
    assert interaction.expires_at == later(NOON, 60)
    assert desk.interaction(interaction.id) == interaction
    assert desk.read(lambda c: interactions.open_of(c, operation.id)) == [interaction]


def test_the_same_request_again_is_the_same_interaction(desk: Desk) -> None:
    operation = desk.submit()
    first = desk.ask(operation, a_question())
    desk.clock.move(5)
    assert desk.ask(operation, a_question()) == first
    assert desk.ask(operation, a_question(prompt="May I?")) == first
    assert desk.count("interactions") == 1


def test_the_same_request_after_its_end_is_the_ended_interaction(desk: Desk) -> None:
    operation = desk.submit()
    first = desk.ask(operation, a_question())
    close(desk, first, InteractionStatus.ANSWERED, "ann")
    assert desk.ask(operation, a_question()).status is InteractionStatus.ANSWERED


def test_request_ids_collide_between_processes_and_operations_and_nothing_is_mixed_up(
    desk: Desk,
) -> None:
    first, second = desk.submit(), desk.submit()
    other_process = a_question(app_server_id=AppServerId("app-server-2"))
    number_and_text = a_question(request_id='"1"')
    asked = [
        desk.ask(first, a_question()),
        desk.ask(first, other_process),
        desk.ask(first, number_and_text),
        desk.ask(second, a_question()),
    ]
    assert len({interaction.id for interaction in asked}) == 4
    assert asked[1].asked == other_process
    assert asked[3].operation_id == second.id


@pytest.mark.parametrize("status", sorted(CLOSED))
def test_the_first_end_stays(desk: Desk, status: InteractionStatus) -> None:
    interaction = desk.ask(desk.submit(), a_question())
    desk.clock.move(3)
    assert close(desk, interaction, status, "ann")
    ended = desk.interaction(interaction.id)
    assert ended == replace(
        interaction,
        status=status,
        closed_at=desk.clock.now(),
        answered_by="ann",
        answered_at=desk.clock.now(),
        answer={"by": "ann"},
    )
    desk.clock.move(3)
    for late in CLOSED:
        assert not close(desk, interaction, late, "bob")
    assert desk.interaction(interaction.id) == ended


def test_an_interaction_that_nobody_answered_names_nobody(desk: Desk) -> None:
    interaction = desk.ask(desk.submit(), a_question())
    desk.write(
        lambda writing: interactions.close_interaction(
            writing, interaction, InteractionStatus.WITHDRAWN
        )
    )
    ended = desk.interaction(interaction.id)
    assert (ended.answered_by, ended.answered_at, ended.answer) == (None, None, None)


def test_open_and_asked_interactions_are_counted_and_grouped(desk: Desk) -> None:
    first, second, third = desk.submit(), desk.submit(), desk.submit()
    a, b = (desk.ask(first, a_question(request_id=id_)) for id_ in ("1", "2"))
    c = desk.ask(second, a_question(request_id="1"))
    close(desk, b, InteractionStatus.ANSWERED, "ann")
    ids = [first.id, second.id, third.id]
    assert desk.read(interactions.open_count) == 2
    assert desk.read(lambda conn: interactions.open_of_many(conn, ids)) == {
        first.id: [a],
        second.id: [c],
        third.id: [],
    }
    assert desk.read(lambda conn: interactions.asked_counts(conn, ids)) == {
        first.id: 2,
        second.id: 1,
    }


def test_interactions_are_listed_page_by_page_oldest_first(desk: Desk) -> None:
    operation = desk.submit()
    asked = []
    for number in range(5):
        asked.append(desk.ask(operation, a_question(request_id=str(number))))
        desk.clock.move(number % 2)  # some share a moment
    asked.sort(key=lambda one: (one.created_at, one.id))
    seen: list[Interaction] = []
    for _ in range(3):
        behind = (seen[-1].created_at, seen[-1].id) if seen else None
        seen += desk.read(
            lambda c, behind=behind: interactions.listed(c, Search(), behind=behind, limit=2)  # type: ignore[misc]
        )
    assert seen == asked


@pytest.mark.parametrize(
    ("search", "found"),
    [
        (Search(), "bc"),
        (Search(status=None), "abc"),
        (Search(status=InteractionStatus.ANSWERED), "a"),
        (Search(status=InteractionStatus.EXPIRED), ""),
        (Search(thread_id=ThreadId("thread-2")), "c"),
        (Search(status=None, turn_id=TurnId("turn-1")), "ab"),
        (Search(operation_id=OperationId("op-none")), ""),
    ],
)
def test_interactions_are_found_by_status_thread_and_turn(
    desk: Desk, search: Search, found: str
) -> None:
    operation = desk.submit()
    names: dict[InteractionId, str] = {}
    for name in "abc":
        where = {"thread_id": ThreadId("thread-2"), "turn_id": None} if name == "c" else {}
        names[desk.ask(operation, a_question(request_id=name, **where)).id] = name
    answered = next(id_ for id_, name in names.items() if name == "a")
    close(desk, desk.interaction(answered), InteractionStatus.ANSWERED, "ann")
    listed = desk.read(lambda c: interactions.listed(c, search, behind=None, limit=10))
    assert "".join(sorted(names[one.id] for one in listed)) == found
