"""The outbox: a notice is there if and only if the fact is, once for each receiver."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from codex_control_plane_mcp.clock import later
from codex_control_plane_mcp.model.ids import HERE, HostId, TurnId, new_workflow_id
from codex_control_plane_mcp.model.notice import Event
from codex_control_plane_mcp.model.operation import (
    Claimed,
    Completed,
    Failed,
    Operation,
    Plan,
    Report,
    Trouble,
)
from codex_control_plane_mcp.model.workflow import Approval, WorkflowKind
from codex_control_plane_mcp.store import notices, operations, workflows
from codex_control_plane_mcp.store.book import Writing
from codex_control_plane_mcp.store.notices import KEEP_SECONDS, Delivery, Notices
from tests.model.lives import ACCEPTED, BOUND, COMPLETED, FIRST, INTENDED, TROUBLE
from tests.store.actors import NOON, Desk, a_question
from tests.store.actors import desk as desk_at
from tests.store.test_workflows import row

SECRET = "sk-ant-api03-" + "A" * 40


@pytest.fixture
def telling(where: Path | str) -> Iterator[Desk]:
    with desk_at(where, outbox=Notices(["webhook", "command"], with_text=True)) as desk:
        yield desk


def told(desk: Desk) -> list[Delivery]:
    """In the order in which they came."""
    found = desk.read(lambda reading: notices.newest(reading, 1000))
    return sorted(found, key=lambda one: one.seq)


def heads(desk: Desk, receiver: str = "webhook") -> list[str]:
    found = desk.read(lambda reading: notices.heads(reading, receiver, 100))
    return [one.notice.id for one in found]


def run(desk: Desk, operation: Operation, report: Report) -> Operation:
    """From the queue to its end."""
    return desk.record(operation, Claimed(FIRST), BOUND, INTENDED, ACCEPTED, Completed(report))


def test_nobody_is_told_anything_unless_a_receiver_is_set(desk: Desk) -> None:
    operation = desk.submit()
    desk.ask(operation, a_question())
    desk.record(operation, Failed(TROUBLE))
    assert desk.count("notices") == 0


def test_each_receiver_is_told_of_a_question_and_of_the_end(telling: Desk) -> None:
    operation = telling.record(telling.submit(), Claimed(FIRST), BOUND, INTENDED, ACCEPTED)
    asked = telling.ask(operation, a_question(command="ls", prompt=f"May I use {SECRET}?"))
    assert telling.ask(operation, a_question()) == asked  # Codex asks again, nobody is told again.
    done = telling.record(operation, COMPLETED)
    assert [(one.receiver, one.notice.id) for one in told(telling)] == [
        ("webhook", asked.id),
        ("command", asked.id),
        ("webhook", f"{operation.id}_ended"),
        ("command", f"{operation.id}_ended"),
    ]
    question, _, end, _ = (one.notice for one in told(telling))
    assert (question.event, question.kind) == (Event.INTERACTION_OPENED, "approval")
    assert (question.operation_id, question.interaction_id) == (operation.id, asked.id)
    assert question.text is not None
    assert question.text.endswith("\nls")
    assert SECRET not in question.text
    assert (end.event, end.status, end.text) == (Event.OPERATION_ENDED, "completed", "All done.")
    assert (end.thread_id, end.turn_id) == (done.thread_id, done.turn_id)


def test_what_was_asked_and_reported_is_not_told_unless_wanted(where: Path | str) -> None:
    with desk_at(where, outbox=Notices(["desktop"])) as desk:
        desk.record(desk.submit(), Failed(Trouble("CODEX_BUSY", "Words of the task.")))
        (one,) = told(desk)
    assert (one.notice.text, one.notice.summary) == (None, "The task failed.")


def test_a_fact_that_is_not_written_is_not_told(telling: Desk) -> None:
    operation = telling.submit()

    def fail(writing: Writing) -> None:
        operations.record(writing, operation, Failed(TROUBLE))
        raise RuntimeError("on the way to the disk")

    with pytest.raises(RuntimeError, match="on the way"):
        telling.write(fail)
    assert told(telling) == []


def test_an_end_is_told_once_whatever_is_written_after_it(telling: Desk) -> None:
    ended = telling.record(telling.submit(), Failed(TROUBLE))
    telling.record(ended)
    assert len(told(telling)) == 2


@pytest.mark.parametrize(
    ("plan", "event"),
    [
        (Plan("plan-1", "1. Mend it."), Event.PLAN_READY),
        (None, Event.PLAN_NEEDS_REVIEW),
    ],
)
def test_a_plan_is_told_and_then_the_end_of_its_workflow(
    telling: Desk, plan: Plan | None, event: Event
) -> None:
    planning = _of_workflow(telling)
    run(telling, planning, Report("Words.", TurnId("turn-1"), plan))
    notice = told(telling)[-1].notice
    assert (notice.event, notice.workflow_id) == (event, planning.workflow_id)
    if plan is None:
        return
    execution = telling.submit(replace(telling.submission(), workflow_id=planning.workflow_id))
    telling.write(lambda writing: _approve(writing, planning, execution))
    run(telling, execution, Report("Done.", TurnId("turn-1")))
    notice = told(telling)[-1].notice
    assert (notice.event, notice.workflow_phase) == (Event.WORKFLOW_ENDED, "completed")


def _of_workflow(desk: Desk) -> Operation:
    """The first operation of a workflow that plans."""
    id_ = new_workflow_id(NOON)
    first = desk.submit(replace(desk.submission(), workflow_id=id_))
    workflow = row(first, id=id_, kind=WorkflowKind.PLAN_THEN_EXECUTE)
    desk.write(lambda writing: workflows.insert_workflow(writing, workflow, "hash"))
    return first


def _approve(writing: Writing, planning: Operation, execution: Operation) -> None:
    assert planning.workflow_id is not None
    workflow = workflows.get(writing.connection, planning.workflow_id)
    assert workflow is not None
    approval = Approval("hash", execution.id, "ann", NOON, "payload")
    workflows.approve(writing, workflow, approval)


def test_those_of_one_operation_go_out_in_order_and_hold_up_no_other(telling: Desk) -> None:
    one, other = (
        telling.record(telling.submit(), Claimed(FIRST), BOUND, INTENDED, ACCEPTED)
        if thread == 0
        else telling.submit()
        for thread in range(2)
    )
    asked = telling.ask(one, a_question())
    telling.record(one, COMPLETED)
    telling.record(other, Failed(TROUBLE))
    assert heads(telling) == [asked.id, f"{other.id}_ended"]

    first, *_ = telling.read(lambda reading: notices.heads(reading, "webhook", 1))
    again = later(NOON, 60)
    telling.write(lambda writing: notices.missed(writing, first, "down", again))
    assert heads(telling) == [f"{other.id}_ended", asked.id]
    assert heads(telling, "command") == [asked.id, f"{other.id}_ended"]
    telling.write(lambda writing: notices.delivered(writing, first))
    assert heads(telling) == [f"{one.id}_ended", f"{other.id}_ended"]


def test_who_is_given_up_holds_up_nobody_and_can_be_sent_again(telling: Desk) -> None:
    operation = telling.record(telling.submit(), Claimed(FIRST), BOUND, INTENDED, ACCEPTED)
    asked = telling.ask(operation, a_question())
    telling.record(operation, COMPLETED)
    first, *_ = telling.read(lambda reading: notices.heads(reading, "webhook", 1))
    telling.write(lambda writing: notices.missed(writing, first, f"key {SECRET}", None))
    assert telling.read(notices.dead_count) == 1
    assert heads(telling) == [f"{operation.id}_ended"]
    trouble = told(telling)[0].trouble
    assert trouble is not None
    assert SECRET not in trouble

    assert telling.write(lambda writing: notices.replay(writing, None)) == 1
    assert heads(telling) == [asked.id]
    assert telling.read(notices.dead_count) == 0
    assert telling.write(lambda writing: notices.replay(writing, "op_none_ended")) == 0
    assert telling.write(lambda writing: notices.replay(writing, asked.id)) == 2


def test_a_host_of_a_fleet_delivers_what_it_wrote_down_itself(telling: Desk) -> None:
    ours = telling.record(telling.submit(), Failed(TROUBLE))
    telling.book.host = HostId("elsewhere")
    theirs = telling.record(telling.submit(), Failed(TROUBLE))

    for host, operation in ((HERE, ours), (HostId("elsewhere"), theirs)):
        (one,) = telling.read(partial(notices.heads, receiver="webhook", limit=9, host=host))
        assert one.notice.id == f"{operation.id}_ended"
        waiting = telling.read(partial(notices.waiting_count, receiver="webhook", host=host))
        assert waiting == 1


def test_what_was_delivered_long_ago_is_forgotten(telling: Desk) -> None:
    telling.record(telling.submit(), Failed(TROUBLE))
    deliver(telling, "webhook")
    deliver(telling, "command")
    assert telling.count("notices") == 2
    assert telling.read(lambda reading: notices.waiting_count(reading, "webhook")) == 0
    telling.clock.move(KEEP_SECONDS + 1)
    telling.record(telling.submit(), Failed(TROUBLE))
    deliver(telling, "webhook")
    assert telling.count("notices") == 2


def deliver(desk: Desk, receiver: str) -> None:
    """The one that waits for this receiver."""
    (one,) = desk.read(lambda reading: notices.heads(reading, receiver, 9))
    desk.write(lambda writing: notices.delivered(writing, one))
