"""Workflows on record: a row over operations, changed by one at a time."""

from dataclasses import replace

import pytest
from sqlalchemy.exc import IntegrityError

from codex_control_plane_mcp.clock import later
from codex_control_plane_mcp.model.ids import (
    OperationId,
    ProjectId,
    RepairId,
    ThreadId,
    TurnId,
    WorkflowId,
    new_workflow_id,
)
from codex_control_plane_mcp.model.operation import Claimed, Completed, Operation, Plan, Report
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox
from codex_control_plane_mcp.model.request import Goal, GoalCompletion, TurnOptions
from codex_control_plane_mcp.model.workflow import (
    Adoption,
    Approval,
    Proposal,
    Terms,
    Workflow,
    WorkflowKind,
)
from codex_control_plane_mcp.store import workflows
from codex_control_plane_mcp.store.bell import Subject
from codex_control_plane_mcp.store.book import Writing
from tests.model.lives import ACCEPTED, BOUND, FIRST, INTENDED
from tests.store.actors import NOON, Desk, all_at_once
from tests.store.actors import desk as desk_at

OPTIONS = TurnOptions(Sandbox.WORKSPACE_WRITE, ApprovalPolicy.ON_REQUEST, model="gpt")
GOAL = Goal("Have it mended.", 10_000, GoalCompletion.SET_COMPLETE, "It is mended.")


def row(operation: Operation, **changes: object) -> Workflow:
    known: dict[str, object] = {
        "id": new_workflow_id(NOON),
        "kind": WorkflowKind.PLAN_THEN_EXECUTE,
        "client_request_id": None,
        "project_id": ProjectId("house"),
        "cwd": "/work/house",
        "title": "Roof",
        "terms": Terms(OPTIONS, GOAL),
        "created_at": NOON,
        "updated_at": NOON,
        "operation_ids": (operation.id,),
    }
    return Workflow(**(known | changes))  # type: ignore[arg-type]


def enter(desk: Desk, **changes: object) -> Workflow:
    workflow = row(desk.submit(), **changes)
    return desk.write(lambda writing: workflows.insert_workflow(writing, workflow, "hash"))


def get(desk: Desk, workflow: Workflow) -> Workflow:
    found = desk.read(lambda reading: workflows.get(reading, workflow.id))
    assert found is not None
    return found


def a_plan(desk: Desk, markdown: str, turn: str, thread: str = "thread-1") -> Operation:
    """An operation in that thread that ended with this plan."""
    operation = desk.submit(desk.submission(thread=thread))
    bound = replace(BOUND, thread_id=ThreadId(thread))
    accepted = replace(ACCEPTED, turn_id=TurnId(turn))
    report = Report("See the plan.", TurnId(turn), Plan(f"{turn}-plan", markdown))
    return desk.record(operation, Claimed(FIRST), bound, INTENDED, accepted, Completed(report))


def test_a_workflow_is_read_as_it_was_written(desk: Desk) -> None:
    workflow = enter(desk, client_request_id="mine")
    assert get(desk, workflow) == workflow
    assert desk.read(lambda reading: workflows.by_client_request(reading, "mine")) == (
        workflow,
        "hash",
    )
    assert desk.read(lambda reading: workflows.get(reading, WorkflowId("wf-none"))) is None


def test_its_operations_come_in_the_order_in_which_they_were_added(desk: Desk) -> None:
    workflow = enter(desk)
    desk.clock.move(-3600)  # The wall clock steps back.
    second = desk.submit()
    workflow = desk.write(lambda writing: workflows.add_operation(writing, workflow, second.id))
    found = desk.read(lambda reading: workflows.operations_of(reading, get(desk, workflow)))
    assert [one.id for one in found] == [workflow.operation_ids[0], second.id]
    assert get(desk, workflow).updated_at == NOON


def test_a_decision_is_kept_to_the_letter(desk: Desk) -> None:
    workflow = enter(desk)
    proposal = Proposal(TurnId("turn-7"), Plan("plan-7", "1. Mend.\n2. Paint: ü\u2028"))
    adoption = Adoption(proposal, "anna", NOON, 1, "It is better.", "adopt-1")
    workflow = desk.write(lambda writing: workflows.adopt(writing, workflow, adoption))
    execution = desk.submit()
    approval = Approval(proposal.hash, execution.id, "anna", NOON, "payload")
    desk.write(lambda writing: workflows.approve(writing, workflow, approval))

    found = get(desk, workflow)
    assert (found.adoption, found.approval) == (adoption, approval)
    assert found.operation_ids[-1] == execution.id
    assert found.planned == 1


def test_secrets_are_not_kept(desk: Desk) -> None:
    secret = "sk-" + "a" * 40
    workflow = enter(desk, title=f"with {secret}")
    proposal = Proposal(TurnId("turn-7"), Plan("plan-7", "1. Mend."))
    adoption = Adoption(proposal, "anna", NOON, 1, f"the key is {secret}")
    desk.write(lambda writing: workflows.adopt(writing, workflow, adoption))

    found = get(desk, workflow)
    assert found.title == "with [redacted]"
    assert found.adoption is not None
    assert found.adoption.note == "the key is [redacted]"


def test_whoever_waits_for_an_operation_hears_of_its_workflow(desk: Desk) -> None:
    workflow = enter(desk)

    def add(writing: Writing) -> set[tuple[Subject, OperationId | RepairId]]:
        workflows.add_operation(writing, workflow, OperationId("op-new"))
        return writing.news

    assert (Subject.FACT, workflow.operation_ids[0]) in desk.write(add)


def test_the_plans_of_a_thread_are_those_that_codex_marked(desk: Desk) -> None:
    a_plan(desk, "first", "turn-1")
    desk.clock.move(1)
    second = a_plan(desk, "second", "turn-2")
    a_plan(desk, "another thread's", "turn-3", thread="thread-2")
    without_plan = desk.submit(desk.submission(thread="thread-1"))
    said = Completed(Report("<proposed_plan>no</proposed_plan>", TurnId("turn-4")))
    desk.record(without_plan, Claimed(FIRST), BOUND, INTENDED, ACCEPTED, said)

    plans = desk.read(lambda reading: workflows.plans_of(reading, ThreadId("thread-1")))
    assert [one.proposal.plan.markdown for one in plans] == ["second", "first"]
    assert plans[0].at == second.completed_at == later(NOON, 1)


def test_a_client_request_id_makes_one_workflow(desk: Desk) -> None:
    enter(desk, client_request_id="mine")
    with pytest.raises(IntegrityError):
        enter(desk, client_request_id="mine")
    assert desk.count("workflows") == 1


def test_the_database_lets_nobody_approve_a_review(desk: Desk) -> None:
    workflow = enter(desk, kind=WorkflowKind.CODE_REVIEW)
    approval = Approval("hash", desk.submit().id, "anna", NOON, "payload")
    with pytest.raises(IntegrityError):
        desk.write(lambda writing: workflows.approve(writing, workflow, approval))


def test_of_eight_who_add_at_once_none_is_lost(desk: Desk) -> None:
    workflow = enter(desk)

    def add(number: int) -> None:
        def work(writing: Writing) -> None:
            present = workflows.get(writing.connection, workflow.id)
            assert present is not None
            workflows.add_operation(writing, present, OperationId(f"op-{number}"))

        with desk_at(desk.where) as mine:
            mine.write(work)

    all_at_once(8, add)
    assert set(get(desk, workflow).operation_ids[1:]) == {OperationId(f"op-{n}") for n in range(8)}
