"""The life of an operation keeps its three rules, whatever happens in whatever order."""

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_control_plane_mcp.clock import later
from codex_control_plane_mcp.model.ids import Generation, ThreadId, TurnId
from codex_control_plane_mcp.model.operation import (
    ACTIVE,
    FINAL,
    QUEUED,
    TRANSITIONS,
    WITH_TURN,
    Cancelled,
    Completed,
    Fact,
    Failed,
    IllegalTransition,
    Interrupted,
    Status,
    ThreadLost,
    TurnAccepted,
    TurnContinued,
    TurnIntended,
    apply,
    sentence,
)
from tests.model.lives import (
    ACCEPTED,
    BOUND,
    COMPLETED,
    FACTS,
    INTENDED,
    KINDS,
    LIFE,
    NOON,
    TROUBLE,
    at,
    lived,
)
from tests.model.strategies import lives

any_fact = st.sampled_from(FACTS)
any_status = st.sampled_from(Status)

#: What may happen, said a second time and the other way round: by state.
EXPECTED = {
    Status.QUEUED: "Cancelled Claimed Failed",
    Status.STARTING_THREAD: "Adopted Cancelled Done Failed OwnerChanged ThreadBound WorktreeMade",
    Status.STARTING_TURN: (
        "Adopted Cancelled Done Failed Lost OwnerChanged ThreadLost TurnAccepted TurnIntended"
    ),
    Status.RUNNING: (
        "Adopted ApprovalAwaited Completed Failed Interrupted Lost OwnerChanged Resumed "
        "TurnContinued UserInputAwaited"
    ),
    Status.COMPLETED: "",
    Status.FAILED: "",
    Status.INTERRUPTED: "",
    Status.CANCELLED: "",
    Status.UNKNOWN: "",
}
EXPECTED[Status.WAITING_FOR_APPROVAL] = EXPECTED[Status.RUNNING]
EXPECTED[Status.WAITING_FOR_USER_INPUT] = EXPECTED[Status.RUNNING]


def test_the_samples_hold_every_kind_of_fact_and_so_does_the_table() -> None:
    assert {type(fact) for fact in FACTS} == KINDS == set(TRANSITIONS)


def test_the_states_are_queued_or_active_or_final_and_nothing_else() -> None:
    assert set(Status) == QUEUED | ACTIVE | FINAL
    assert len(QUEUED) + len(ACTIVE) + len(FINAL) == len(Status)
    assert WITH_TURN < ACTIVE


@pytest.mark.parametrize("status", Status)
def test_every_state_is_reached_from_queued(status: Status) -> None:
    assert lived(LIFE[status]).status is status


@pytest.mark.parametrize("status", Status)
def test_in_each_state_only_what_is_meant_to_may_happen(status: Status) -> None:
    allowed = {kind.__name__ for kind, (before, _) in TRANSITIONS.items() if status in before}
    assert allowed == set(EXPECTED[status].split())


@given(status=any_status, fact=any_fact)
def test_a_fact_out_of_place_is_an_error_and_changes_nothing(status: Status, fact: Fact) -> None:
    before = at(status)
    if type(fact).__name__ in EXPECTED[status].split():
        apply(before, fact, NOON)
    else:
        with pytest.raises(IllegalTransition, match=type(fact).__name__):
            apply(before, fact, NOON)
    assert before == at(status)


@given(life=lives(), fact=any_fact)
def test_a_final_state_never_changes(life: tuple[Fact, ...], fact: Fact) -> None:
    operation = lived(life)
    if operation.is_final:
        with pytest.raises(IllegalTransition):
            apply(operation, fact, NOON)


@given(life=lives())
def test_no_state_with_a_turn_is_reached_without_a_turn_that_codex_has_accepted(
    life: tuple[Fact, ...],
) -> None:
    operation = lived(life)
    accepted = [fact.turn_id for fact in life if isinstance(fact, TurnAccepted)]
    gone_on = [fact.turn_id for fact in life if isinstance(fact, TurnContinued)]
    if operation.status in WITH_TURN | {Status.COMPLETED, Status.INTERRUPTED}:
        assert operation.turn_id == (accepted + gone_on)[-1]
    assert len(accepted) <= 1
    assert (operation.turn_id is not None) == bool(accepted)


@given(life=lives())
def test_completed_is_reached_only_by_codexs_own_word_and_has_its_report(
    life: tuple[Fact, ...],
) -> None:
    operation = lived(life)
    completed = [fact.report for fact in life if isinstance(fact, Completed)]
    assert (operation.status is Status.COMPLETED) == bool(completed)
    assert operation.report == (completed[0] if completed else None)


@given(life=lives())
def test_nothing_is_cancelled_once_codex_has_a_turn(life: tuple[Fact, ...]) -> None:
    if any(isinstance(fact, Cancelled) for fact in life):
        assert not any(isinstance(fact, TurnAccepted) for fact in life)
        assert lived(life).turn_id is None


@given(life=lives())
def test_it_has_an_end_when_it_is_final_and_only_then(life: tuple[Fact, ...]) -> None:
    operation = lived(life)
    assert (operation.completed_at is not None) == operation.is_final == (operation.status in FINAL)


@given(status=any_status, fact=any_fact)
def test_apply_is_pure(status: Status, fact: Fact) -> None:
    operation, same = at(status), at(status)
    with suppress(IllegalTransition):
        assert apply(operation, fact, NOON) == apply(same, fact, NOON)
    assert operation == same


@given(life=lives(), backwards=st.integers(1, 3_600_000))
def test_the_wall_clock_may_step_back_and_updated_at_does_not(
    life: tuple[Fact, ...], backwards: int
) -> None:
    operation = lived(life)
    for fact in FACTS:
        if operation.status in TRANSITIONS[type(fact)][0]:
            moved = apply(operation, fact, later(NOON, -backwards / 1000))
            assert moved.updated_at == operation.updated_at


@given(life=lives())
def test_every_attempt_has_a_client_message_id_of_its_own(life: tuple[Fact, ...]) -> None:
    ids = [
        operation.intent.client_message_id
        for count, fact in enumerate(life, 1)
        if isinstance(fact, TurnIntended)
        if (operation := lived(life[:count])).intent is not None
    ]
    assert len(set(ids)) == len(ids) == sum(isinstance(fact, TurnIntended) for fact in life)


def test_the_first_intent_says_what_to_look_for() -> None:
    intent = lived([*LIFE[Status.STARTING_TURN], TurnIntended(TurnId("before"))]).intent
    assert intent is not None
    assert intent.attempt == 1
    assert intent.client_message_id == "op-1.1"
    assert intent.last_turn_id == TurnId("before")


def test_a_thread_that_is_lost_is_forgotten_but_the_attempt_is_not() -> None:
    operation = lived([*LIFE[Status.STARTING_TURN], INTENDED, ThreadLost()])
    assert operation.thread_id is None
    assert operation.app_server_id is None
    again = apply(apply(operation, BOUND, NOON), INTENDED, NOON)
    assert again.intent is not None
    assert again.intent.attempt == 2


def test_each_fact_leaves_what_it_says() -> None:
    operation = lived([*LIFE[Status.RUNNING], COMPLETED])
    assert operation.generation == Generation(1)
    assert operation.started_at == operation.heard_at == operation.completed_at == NOON
    assert operation.thread_id == ThreadId("thread-1")
    assert operation.policy == BOUND.policy
    assert operation.turn_id == ACCEPTED.turn_id
    for status in (Status.FAILED, Status.INTERRUPTED, Status.UNKNOWN):
        assert at(status).trouble == TROUBLE


@given(fact=any_fact)
def test_every_fact_has_a_sentence_for_the_journal(fact: Fact) -> None:
    line = sentence(fact)
    assert line[0].isupper()
    assert line.endswith((".", ")."))
    assert "object at" not in line


def test_sentences_tell_one_fact_from_another() -> None:
    lines = [sentence(fact) for fact in FACTS]
    # The same trouble in `Failed` and `Lost`: the state beside it tells them apart.
    assert len(set(lines)) == len(lines) - 1


def test_a_sentence_says_why_it_ended() -> None:
    assert "It took too long." in sentence(Failed(TROUBLE))
    assert "It took too long." in sentence(Interrupted(TROUBLE))
    assert sentence(replace(ACCEPTED, evidence="found in the thread")) == (
        "Codex runs turn turn-1 (found in the thread)."
    )
