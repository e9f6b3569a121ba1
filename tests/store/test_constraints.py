"""The tables say the state machine again: rows that cannot be are refused, whoever writes them."""

import pytest
from sqlalchemy.exc import IntegrityError

from codex_control_plane_mcp.model.operation import FINAL, WITH_TURN, Status
from tests.model.lives import LIFE
from tests.store.actors import Desk, a_question


def at(desk: Desk, status: Status) -> str:
    return desk.record(desk.submit(), *LIFE[status]).id


@pytest.mark.parametrize("status", sorted(FINAL))
def test_a_final_row_without_its_end_is_refused(desk: Desk, status: Status) -> None:
    id_ = at(desk, status)
    with pytest.raises(IntegrityError):
        desk.sql("UPDATE operations SET completed_at = NULL WHERE id = :id", id=id_)


@pytest.mark.parametrize("status", sorted(set(Status) - FINAL))
def test_a_row_in_progress_with_an_end_is_refused(desk: Desk, status: Status) -> None:
    id_ = at(desk, status)
    with pytest.raises(IntegrityError):
        desk.sql("UPDATE operations SET completed_at = 1 WHERE id = :id", id=id_)


@pytest.mark.parametrize("status", sorted(WITH_TURN | {Status.COMPLETED, Status.INTERRUPTED}))
def test_a_row_that_has_a_turn_by_its_status_and_names_none_is_refused(
    desk: Desk, status: Status
) -> None:
    id_ = at(desk, status)
    with pytest.raises(IntegrityError):
        desk.sql("UPDATE operations SET turn_id = NULL WHERE id = :id", id=id_)


@pytest.mark.parametrize(
    ("status", "change"),
    [
        (Status.COMPLETED, "report_text = NULL"),
        (Status.RUNNING, "intent_message_id = NULL"),
        (Status.STARTING_TURN, "turn_id = 'turn-1'"),
        (Status.QUEUED, "status = 'running'"),
        (Status.QUEUED, "status = 'dancing'"),
        (Status.QUEUED, "priority = 'utmost'"),
        (Status.QUEUED, "status_seq = last_seq + 1"),
        (Status.QUEUED, "request = NULL"),
        (Status.RUNNING, "status = 'completed', completed_at = 1"),
        (Status.COMPLETED, "status = 'running'"),
    ],
)
def test_a_row_that_cannot_be_is_refused(desk: Desk, status: Status, change: str) -> None:
    id_ = at(desk, status)
    with pytest.raises(IntegrityError):
        desk.sql(f"UPDATE operations SET {change} WHERE id = :id", id=id_)  # noqa: S608


def test_what_belongs_to_no_operation_is_refused(desk: Desk) -> None:
    with pytest.raises(IntegrityError):
        desk.sql(
            "INSERT INTO journal (operation_id, seq, at, category, text) "
            "VALUES ('op-none', 1, 0, 'state', '')"
        )


@pytest.mark.parametrize(
    "change",
    ["status = 'answered'", "closed_at = 1", "status = 'perhaps'"],
)
def test_an_interaction_is_closed_and_ended_or_neither(desk: Desk, change: str) -> None:
    desk.ask(desk.submit(), a_question())
    with pytest.raises(IntegrityError):
        desk.sql(f"UPDATE interactions SET {change}")  # noqa: S608


@pytest.mark.parametrize(
    "wish",
    [
        "('w', :op, 'answer', NULL, '{}', 'ann', 0, NULL, NULL)",
        "('w', :op, 'cancel', :ia, '{}', 'ann', 0, NULL, NULL)",
        "('w', :op, 'dance', NULL, '{}', 'ann', 0, NULL, NULL)",
        "('w', :op, 'cancel', NULL, '{}', 'ann', 0, 1, NULL)",
        "('w', :op, 'cancel', NULL, '{}', 'ann', 0, NULL, 'done')",
        "('w', 'op-none', 'cancel', NULL, '{}', 'ann', 0, NULL, NULL)",
        "('w', :op, 'answer', 'ia-none', '{}', 'ann', 0, NULL, NULL)",
    ],
    ids=[
        "answer to nothing",
        "cancel of an interaction",
        "unknown kind",
        "done without outcome",
        "outcome without done",
        "of no operation",
        "to no interaction",
    ],
)
def test_a_wish_that_cannot_be_is_refused(desk: Desk, wish: str) -> None:
    operation = desk.submit()
    interaction = desk.ask(operation, a_question())
    with pytest.raises(IntegrityError):
        desk.sql(
            "INSERT INTO wishes (id, operation_id, kind, interaction_id, payload, made_by, "  # noqa: S608
            f"created_at, done_at, outcome) VALUES {wish}",
            op=operation.id,
            **({"ia": interaction.id} if ":ia" in wish else {}),
        )
    assert desk.count("wishes") == 0
