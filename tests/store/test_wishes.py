"""What doors want: the first answer wins, a cancel is wished once, a secret does not stay."""

import pytest
from sqlalchemy import text

from codex_control_plane_mcp.model.interaction import Interaction
from codex_control_plane_mcp.model.operation import Operation
from codex_control_plane_mcp.store import wishes
from codex_control_plane_mcp.store.wishes import Outcome, Wish, WishKind
from tests.store.actors import Desk, a_question, all_at_once
from tests.store.actors import desk as desk_at

YES = {"decision": "accept"}


def asked(desk: Desk) -> tuple[Operation, Interaction]:
    operation = desk.submit()
    return operation, desk.ask(operation, a_question())


def answer(desk: Desk, interaction: Interaction, payload: object, by: str) -> bool:
    return desk.write(
        lambda writing: wishes.wish_answer(
            writing, interaction.operation_id, interaction.id, payload, by
        )
    )


def cancel(desk: Desk, operation: Operation, by: str) -> bool:
    return desk.write(lambda writing: wishes.wish_cancel(writing, operation.id, by))


def open_wishes(desk: Desk, operation: Operation | None = None) -> list[Wish]:
    id_ = None if operation is None else operation.id
    return desk.read(lambda connection: wishes.open_wishes(connection, id_))


def fulfil(desk: Desk, wish: Wish, outcome: Outcome) -> None:
    desk.write(lambda writing: wishes.fulfil(writing, wish, outcome))


def newest(desk: Desk, interaction: Interaction) -> tuple[str, Outcome | None] | None:
    return desk.read(lambda connection: wishes.newest_answer(connection, interaction.id))


def test_the_first_answer_wins_and_the_second_is_told_so(desk: Desk) -> None:
    operation, interaction = asked(desk)
    assert newest(desk, interaction) is None
    assert answer(desk, interaction, YES, "ann")
    assert not answer(desk, interaction, {"decision": "decline"}, "bob")
    (wish,) = open_wishes(desk, operation)
    assert (wish.kind, wish.payload, wish.made_by) == (WishKind.ANSWER, YES, "ann")
    assert (wish.interaction_id, wish.sent_at) == (interaction.id, None)
    assert newest(desk, interaction) == ("ann", None)
    assert desk.read(wishes.answers_on_their_way) == {interaction.id}


def test_the_first_answer_wins_among_thirty_who_answer_at_once(desk: Desk) -> None:
    operation, interaction = asked(desk)

    def try_to_answer(number: int) -> bool:
        with desk_at(desk.where) as mine:
            return answer(mine, interaction, {"decision": number}, f"hand-{number}")

    won = [number for number, first in enumerate(all_at_once(30, try_to_answer)) if first]
    (wish,) = open_wishes(desk, operation)
    assert len(won) == 1
    assert wish.payload == {"decision": won[0]}
    assert wish.made_by == f"hand-{won[0]}"


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.MOOT])
def test_an_answer_that_did_not_arrive_makes_room_for_another(desk: Desk, outcome: Outcome) -> None:
    operation, interaction = asked(desk)
    answer(desk, interaction, YES, "ann")
    fulfil(desk, open_wishes(desk)[0], outcome)
    assert newest(desk, interaction) == ("ann", outcome)
    assert desk.read(wishes.answers_on_their_way) == frozenset()
    assert answer(desk, interaction, YES, "bob")
    assert [wish.made_by for wish in open_wishes(desk, operation)] == ["bob"]


def test_an_answer_that_arrived_is_the_last(desk: Desk) -> None:
    _, interaction = asked(desk)
    answer(desk, interaction, YES, "ann")
    fulfil(desk, open_wishes(desk)[0], Outcome.DONE)
    assert not answer(desk, interaction, YES, "bob")
    assert open_wishes(desk) == []
    assert newest(desk, interaction) == ("ann", Outcome.DONE)


@pytest.mark.parametrize("steps_back", [0, 3600])
def test_the_answer_that_counts_is_the_newest_though_the_clock_stands_or_steps_back(
    desk: Desk, steps_back: int
) -> None:
    _, interaction = asked(desk)
    for hand in ("ann", "bob", "cid"):
        answer(desk, interaction, YES, hand)
        desk.clock.move(-steps_back)
        if hand != "cid":
            fulfil(desk, open_wishes(desk)[0], Outcome.REFUSED)
    assert newest(desk, interaction) == ("cid", None)


@pytest.mark.parametrize("outcome", Outcome)
def test_the_payload_is_emptied_once_its_wish_is_fulfilled(desk: Desk, outcome: Outcome) -> None:
    _, interaction = asked(desk)
    answer(desk, interaction, {"answers": {"q": "open sesame"}}, "ann")
    fulfil(desk, open_wishes(desk)[0], outcome)
    payloads = desk.read(lambda c: c.scalars(text("SELECT payload FROM wishes")).all())
    assert payloads == ["{}"]


def test_a_wish_has_one_outcome(desk: Desk) -> None:
    _, interaction = asked(desk)
    answer(desk, interaction, YES, "ann")
    (wish,) = open_wishes(desk)
    fulfil(desk, wish, Outcome.DONE)
    fulfil(desk, wish, Outcome.REFUSED)
    assert newest(desk, interaction) == ("ann", Outcome.DONE)


def test_that_it_is_about_to_be_sent_is_on_record_before_it_is_sent(desk: Desk) -> None:
    _, interaction = asked(desk)
    answer(desk, interaction, YES, "ann")
    desk.clock.move(2)
    (wish,) = open_wishes(desk)
    desk.write(lambda writing: wishes.about_to_send(writing, wish))
    (sent,) = open_wishes(desk)
    assert sent.sent_at == desk.clock.now()
    assert sent.payload == YES


def test_a_cancel_is_wished_once_until_it_is_looked_at(desk: Desk) -> None:
    operation, other = desk.submit(), desk.submit()
    assert cancel(desk, operation, "ann")
    assert not cancel(desk, operation, "bob")
    assert cancel(desk, other, "bob")
    (wish,) = open_wishes(desk, operation)
    assert (wish.kind, wish.made_by, wish.interaction_id) == (WishKind.CANCEL, "ann", None)
    fulfil(desk, wish, Outcome.MOOT)
    assert cancel(desk, operation, "bob")


def test_open_wishes_are_listed_oldest_first(desk: Desk) -> None:
    operation, interaction = asked(desk)
    other = desk.submit()
    cancel(desk, other, "ann")
    desk.clock.move(1)
    answer(desk, interaction, YES, "bob")
    desk.clock.move(1)
    cancel(desk, operation, "cid")
    assert [wish.made_by for wish in open_wishes(desk)] == ["ann", "bob", "cid"]
    assert [wish.made_by for wish in open_wishes(desk, operation)] == ["bob", "cid"]
