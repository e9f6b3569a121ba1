"""Where a workflow stands follows from its operations; its three rules hold whatever they are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.model.ids import OperationId, ProjectId, TurnId, WorkflowId
from codex_control_plane_mcp.model.operation import (
    FINAL,
    Completed,
    Operation,
    Plan,
    Report,
    Status,
    apply,
)
from codex_control_plane_mcp.model.request import Review, UncommittedChanges
from codex_control_plane_mcp.model.workflow import (
    ENDED,
    UNDECIDED,
    WANTS_SOMEBODY,
    Adoption,
    Approval,
    Phase,
    Proposal,
    Sighting,
    Stand,
    Step,
    Terms,
    Workflow,
    WorkflowKind,
    newest_candidate,
    stand,
)
from tests.model.lives import NOON, SAFE, at

PLAN = Plan("item-1", "1. Mend the roof.")
AT_WORK = (Status.QUEUED, Status.STARTING_THREAD, Status.STARTING_TURN, Status.RUNNING)


def planned(status: Status, plan: Plan | None = None, number: int = 1) -> Operation:
    """An operation of planning that stands there; with a plan if it completed with one."""
    operation = at(status)
    if status is Status.COMPLETED:
        report = Report("Here it is.", TurnId(f"turn-{number}"), plan)
        operation = apply(at(Status.RUNNING), Completed(report), NOON)
    turn_id = TurnId(f"turn-{number}") if operation.turn_id else None
    return replace(operation, id=OperationId(f"op-{number}"), turn_id=turn_id)


def workflow(
    operations: Sequence[Operation],
    *,
    kind: WorkflowKind = WorkflowKind.PLAN_THEN_EXECUTE,
    adoption: Adoption | None = None,
    approval: Approval | None = None,
) -> Workflow:
    return Workflow(
        id=WorkflowId("wf-1"),
        kind=kind,
        client_request_id=None,
        project_id=ProjectId("house"),
        cwd="/work/house",
        title=None,
        terms=Terms(SAFE),
        created_at=NOON,
        updated_at=NOON,
        operation_ids=tuple(operation.id for operation in operations),
        adoption=adoption,
        approval=approval,
    )


def adoption(markdown: str, after: int, turn: str = "turn-x") -> Adoption:
    proposal = Proposal(TurnId(turn), Plan("item-x", markdown))
    return Adoption(proposal, "anna", NOON, after)


def approval(operation: Operation) -> Approval:
    return Approval("hash", operation.id, "anna", NOON, "payload")


# --- Story by story ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "phase"),
    [
        *((status, Phase.PLANNING) for status in AT_WORK),
        (Status.WAITING_FOR_APPROVAL, Phase.WAITING_FOR_APPROVAL),
        (Status.WAITING_FOR_USER_INPUT, Phase.WAITING_FOR_USER_INPUT),
        (Status.COMPLETED, Phase.PLAN_NEEDS_REVIEW),
        (Status.FAILED, Phase.FAILED),
        (Status.INTERRUPTED, Phase.INTERRUPTED),
        (Status.CANCELLED, Phase.INTERRUPTED),
        (Status.UNKNOWN, Phase.ORPHANED),
    ],
)
def test_planning_that_made_no_plan(status: Status, phase: Phase) -> None:
    now = stand(workflow(one := [planned(status)]), one)
    assert (now.phase, now.step, now.proposal) == (phase, Step.PLAN, None)


def test_a_plan_item_makes_the_plan_ready() -> None:
    operation = planned(Status.COMPLETED, PLAN)
    now = stand(workflow([operation]), [operation])
    assert now.phase is Phase.PLAN_READY
    assert now.is_valid
    assert now.proposal == Proposal(TurnId("turn-1"), PLAN)


def test_words_that_look_like_a_plan_are_none() -> None:
    operation = planned(Status.COMPLETED)
    words = Report("<proposed_plan>1. Mend the roof.</proposed_plan> blocked", TurnId("turn-1"))
    operation = replace(operation, report=words)
    assert stand(workflow([operation]), [operation]).phase is Phase.PLAN_NEEDS_REVIEW


def test_a_revised_plan_takes_the_place_of_the_first() -> None:
    revised = Plan("item-2", "1. Mend the door.")
    both = [planned(Status.COMPLETED, PLAN, 1), planned(Status.COMPLETED, revised, 2)]
    now = stand(workflow(both), both)
    assert now.phase is Phase.PLAN_READY
    assert now.proposal == Proposal(TurnId("turn-2"), revised)


def test_a_plan_that_is_being_revised_is_shown_and_cannot_be_approved() -> None:
    both = [planned(Status.COMPLETED, PLAN, 1), planned(Status.RUNNING, number=2)]
    now = stand(workflow(both), both)
    assert now.phase is Phase.PLANNING
    assert now.proposal == Proposal(TurnId("turn-1"), PLAN)
    assert not now.is_valid


def test_an_answer_without_a_plan_leaves_nothing_to_approve() -> None:
    both = [planned(Status.COMPLETED, PLAN, 1), planned(Status.COMPLETED, number=2)]
    now = stand(workflow(both), both)
    assert now.phase is Phase.PLAN_NEEDS_REVIEW
    assert now.operation is both[1]
    assert not now.is_valid


@pytest.mark.parametrize("status", sorted(FINAL - {Status.COMPLETED}))
def test_a_revision_that_came_to_nothing_leaves_the_plan_as_it_was(status: Status) -> None:
    both = [planned(Status.COMPLETED, PLAN, 1), planned(status, number=2)]
    now = stand(workflow(both), both)
    assert (now.phase, now.is_valid, now.operation) == (Phase.PLAN_READY, True, both[0])
    assert now.newest is both[1]


def test_of_two_revisions_the_one_at_work_is_told() -> None:
    three = [
        planned(Status.COMPLETED, PLAN, 1),
        planned(Status.WAITING_FOR_USER_INPUT, number=2),
        planned(Status.QUEUED, number=3),
    ]
    now = stand(workflow(three), three)
    assert (now.phase, now.operation) == (Phase.WAITING_FOR_USER_INPUT, three[1])
    assert now.planning is three[2]


def test_an_adopted_plan_is_the_one_to_decide_on_until_a_newer_one_is_made() -> None:
    first = planned(Status.COMPLETED, number=1)
    taken = adoption("1. Sweep.", after=1)
    now = stand(workflow([first], adoption=taken), [first])
    assert (now.phase, now.proposal) == (Phase.PLAN_READY, taken.proposal)

    both = [first, planned(Status.COMPLETED, PLAN, 2)]
    now = stand(workflow(both, adoption=taken), both)
    assert now.proposal == Proposal(TurnId("turn-2"), PLAN)


@pytest.mark.parametrize(
    ("status", "phase"),
    [
        *((status, Phase.EXECUTING) for status in AT_WORK),
        (Status.WAITING_FOR_APPROVAL, Phase.WAITING_FOR_APPROVAL),
        (Status.COMPLETED, Phase.COMPLETED),
        (Status.FAILED, Phase.FAILED),
        (Status.INTERRUPTED, Phase.INTERRUPTED),
        (Status.CANCELLED, Phase.INTERRUPTED),
        (Status.UNKNOWN, Phase.ORPHANED),
    ],
)
def test_an_approved_plan_is_as_far_as_its_execution(status: Status, phase: Phase) -> None:
    both = [planned(Status.COMPLETED, PLAN, 1), planned(status, number=2)]
    now = stand(workflow(both, approval=approval(both[1])), both)
    assert (now.phase, now.step, now.operation) == (phase, Step.EXECUTION, both[1])
    assert (now.planning, now.is_valid) == (both[0], True)
    assert now.proposal == Proposal(TurnId("turn-1"), PLAN)


def test_of_an_execution_that_was_tried_again_the_last_one_counts() -> None:
    plan = planned(Status.COMPLETED, PLAN)
    failed, again = planned(Status.FAILED, number=2), planned(Status.RUNNING, number=3)
    row = workflow([plan, failed, again], approval=approval(failed))

    now = stand(row, [plan, failed, again])

    assert (now.phase, now.operation.id, now.planning) == (Phase.EXECUTING, again.id, plan)


@pytest.mark.parametrize(
    ("status", "phase"),
    [
        (Status.QUEUED, Phase.REVIEWING),
        (Status.WAITING_FOR_APPROVAL, Phase.WAITING_FOR_APPROVAL),
        (Status.COMPLETED, Phase.COMPLETED),
        (Status.UNKNOWN, Phase.ORPHANED),
    ],
)
def test_a_review_is_as_far_as_its_operation(status: Status, phase: Phase) -> None:
    request = Review(UncommittedChanges(), "/work/house", ProjectId("house"), SAFE)
    one = replace(planned(status), request=request)
    now = stand(workflow([one], kind=WorkflowKind.CODE_REVIEW), [one])
    assert (now.phase, now.step, now.proposal) == (phase, Step.REVIEW, None)


def test_a_candidate_is_a_later_plan_of_somebody_else() -> None:
    one = planned(Status.COMPLETED, PLAN, 1)
    elsewhere = Proposal(TurnId("turn-9"), Plan("item-9", "1. Paint."))
    later, earlier = Sighting(elsewhere, Moment(NOON + 1)), Sighting(elsewhere, NOON)
    ours = Sighting(Proposal(TurnId("turn-1"), PLAN), Moment(NOON + 2))
    row = workflow([one])

    assert newest_candidate(row, [one], [later, ours]) == elsewhere
    assert newest_candidate(row, [one], [earlier, ours]) is None
    now = stand(row, [one], elsewhere)
    assert (now.phase, now.candidate) == (Phase.PLAN_CANDIDATE_FOUND, elsewhere)
    assert not now.is_valid


def test_once_somebody_chose_what_was_there_before_is_no_candidate() -> None:
    one = planned(Status.COMPLETED, PLAN, 1)
    elsewhere = Sighting(Proposal(TurnId("turn-9"), Plan("item-9", "1. Paint.")), Moment(NOON + 1))
    chosen = replace(adoption(PLAN.markdown, after=1, turn="turn-1"), at=Moment(NOON + 2))
    assert newest_candidate(workflow([one], adoption=chosen), [one], [elsewhere]) is None


# --- Whatever happens ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Story:
    workflow: Workflow
    operations: list[Operation]
    candidate: Proposal | None

    @property
    def now(self) -> Stand:
        return stand(self.workflow, self.operations, self.candidate)


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """Any planning, with or without an adoption, an execution and a candidate: also what the desk
    would never let happen."""
    plans = st.one_of(st.none(), st.builds(Plan, st.just("item"), st.text(max_size=5)))
    count = draw(st.integers(1, 4))
    statuses = st.sampled_from(Status) | st.just(Status.COMPLETED)
    planning = [planned(draw(statuses), draw(plans), number) for number in range(1, count + 1)]
    adopted = draw(st.none() | st.integers(1, count).map(lambda after: adoption("taken", after)))
    candidate = draw(st.none() | st.just(Proposal(TurnId("turn-c"), Plan("item-c", "candidate"))))
    if not draw(st.booleans()):
        return Story(workflow(planning, adoption=adopted), planning, candidate)
    execution = planned(draw(st.sampled_from(Status)), None, count + 1)
    every = [*planning, execution]
    row = workflow(every, adoption=adopted, approval=approval(execution))
    return Story(row, every, candidate)


@given(stories())
def test_a_plan_is_ready_only_when_codex_marked_it_and_does_nothing(story: Story) -> None:
    """Rules 1 and 2."""
    now = story.now
    if now.phase is not Phase.PLAN_READY:
        return
    assert all(operation.is_final for operation in story.operations)
    assert now.is_valid
    assert now.proposal is not None
    marked = [one.report.plan for one in story.operations if one.report and one.report.plan]
    taken = story.workflow.adoption
    assert now.proposal.plan in marked or (taken is not None and now.proposal == taken.proposal)


@given(stories())
def test_only_an_execution_or_a_review_completes_a_workflow(story: Story) -> None:
    now = story.now
    if now.phase is Phase.COMPLETED:
        assert story.workflow.approval is not None
        assert now.operation.status is Status.COMPLETED


@given(stories())
def test_what_is_unknown_is_never_told_as_an_end_that_is_known(story: Story) -> None:
    now = story.now
    if now.operation.status is Status.UNKNOWN and now.phase not in UNDECIDED:
        assert now.phase is Phase.ORPHANED


@given(stories())
def test_once_approved_nothing_is_left_to_decide_on_the_plan(story: Story) -> None:
    """Rule 3."""
    if story.workflow.approval is not None:
        assert story.now.phase not in UNDECIDED
        assert story.now.step is Step.EXECUTION


@given(stories(), st.text())
def test_what_codex_says_beside_the_plan_changes_nothing(story: Story, words: str) -> None:
    other = [
        replace(one, report=one.report and replace(one.report, text=words))
        for one in story.operations
    ]
    before, after = story.now, stand(story.workflow, other, story.candidate)
    assert (before.phase, before.proposal) == (after.phase, after.proposal)


@given(stories())
def test_a_workflow_works_or_waits_for_somebody_or_has_ended(story: Story) -> None:
    phase = story.now.phase
    works = phase in {Phase.PLANNING, Phase.EXECUTING, Phase.REVIEWING}
    assert [works, phase in WANTS_SOMEBODY, phase in ENDED].count(True) == 1
