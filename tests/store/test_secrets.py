"""Every text that the book keeps for people to read is stored without secrets."""

import json
from collections.abc import Callable

import pytest
from sqlalchemy import text

from codex_control_plane_mcp.model.ids import OperationId, TurnId
from codex_control_plane_mcp.model.interaction import InteractionStatus, Option, Question
from codex_control_plane_mcp.model.journal import Category, Entry
from codex_control_plane_mcp.model.operation import (
    Completed,
    Failed,
    Interrupted,
    Lost,
    Plan,
    Report,
    Status,
    StructuredStatus,
    Trouble,
    TurnAccepted,
)
from codex_control_plane_mcp.store import interactions, operations
from tests.model.lives import LIFE
from tests.store.actors import Desk, a_question

SECRET = "sk-proj-abcdefghijklmnop1234567890"
TOLD = f"The key is {SECRET}, use it."
TROUBLE = Trouble("CODEX_TIMEOUT", TOLD)


def in_the_journal(desk: Desk) -> None:
    desk.write(
        lambda writing: operations.record(
            writing,
            operations.insert_operation(writing, OperationId("op-1"), desk.submission()),
            entries=[Entry(category, TOLD, "item-1") for category in Category],
        )
    )


def in_the_report(desk: Desk) -> None:
    desk.record(
        desk.submit(),
        *LIFE[Status.RUNNING],
        Completed(Report(TOLD, TurnId("turn-1"), Plan("plan-1", TOLD))),
    )


def in_the_trouble(desk: Desk) -> None:
    for fact in (Failed(TROUBLE), Lost(TROUBLE), Interrupted(TROUBLE)):
        desk.record(desk.submit(), *LIFE[Status.RUNNING], fact)


def in_the_evidence(desk: Desk) -> None:
    desk.record(desk.submit(), *LIFE[Status.RUNNING][:3], TurnAccepted(TurnId("turn-1"), TOLD))


def in_the_question(desk: Desk) -> None:
    desk.ask(
        desk.submit(),
        a_question(
            prompt=TOLD,
            command=f"curl -H 'Authorization: Bearer {SECRET}'",
            cwd=f"/work/{SECRET}",
            reason=TOLD,
            available_decisions=(TOLD, {"acceptWith": [TOLD]}),
            questions=(Question("q", TOLD, TOLD, (Option(TOLD, TOLD),)),),
            risk_summary=TOLD,
            details={"env": {"OPENAI_API_KEY": SECRET}, "deep": [[TOLD]]},
        ),
    )


def in_the_answer(desk: Desk) -> None:
    interaction = desk.ask(desk.submit(), a_question())
    desk.write(
        lambda writing: interactions.close_interaction(
            writing,
            interaction,
            InteractionStatus.ANSWERED,
            answered_by="ann",
            answer={"answers": {"q": [TOLD]}, "password": "hunter"},
        )
    )


@pytest.mark.parametrize(
    "put",
    [
        in_the_journal,
        in_the_report,
        in_the_trouble,
        in_the_evidence,
        in_the_question,
        in_the_answer,
    ],
    ids=lambda put: put.__name__,
)
def test_a_secret_is_masked_before_it_is_stored(desk: Desk, put: Callable[[Desk], None]) -> None:
    put(desk)
    stored = "\n".join(
        str(tuple(row))
        for table in ("operations", "journal", "interactions", "wishes")
        for row in desk.read(
            lambda c, table=table: c.execute(text(f"SELECT * FROM {table}")).all()  # type: ignore[misc]  # noqa: S608
        )
    )
    assert SECRET not in stored
    assert "hunter" not in stored
    assert "[redacted]" in stored


def test_masking_leaves_a_report_that_is_json_what_it_is(desk: Desk) -> None:
    told = json.dumps({"env": "API_TOKEN=abcdef123456", "note": TOLD, "count": 1})
    operation = desk.record(
        desk.submit(),
        *LIFE[Status.RUNNING],
        Completed(Report(told, TurnId("turn-1"), None, StructuredStatus.VALID)),
    )
    assert operation.report is not None
    assert json.loads(operation.report.text) == {
        "env": "API_TOKEN=[redacted]",
        "note": "The key is [redacted], use it.",
        "count": 1,
    }
