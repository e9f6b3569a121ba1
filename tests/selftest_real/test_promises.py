"""A check that cannot fail is a defect: here each kind of breach is put into the evidence of a good
run, and found."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from codex_control_plane_mcp.codex.words.things import AgentMessage, UserMessage
from codex_control_plane_mcp.model.ids import OperationId, TurnId
from codex_control_plane_mcp.model.interaction import InteractionStatus
from codex_control_plane_mcp.model.operation import Operation, Status
from codex_control_plane_mcp.processes import Identity
from codex_control_plane_mcp.selftest.real.evidence import Evidence
from codex_control_plane_mcp.selftest.real.fleet import Followed
from codex_control_plane_mcp.selftest.real.promises import Harm, check
from codex_control_plane_mcp.selftest.real.stage import Killed, Role
from codex_control_plane_mcp.selftest.real.story import tell
from codex_control_plane_mcp.selftest.real.tasks import Kind
from codex_control_plane_mcp.store.wishes import Wish, WishKind

pytestmark = pytest.mark.real

#: With this one the approval of the undisturbed tasks is accepted.
SEED = 4

Doctor = Callable[[Evidence], Evidence]


@pytest.fixture(scope="module")
def good() -> Evidence:
    """What an undisturbed run leaves."""
    result, evidence = tell(0, SEED, lambda done, of: None)
    assert result.is_good, "\n".join(result.notes)
    assert {operation.status for operation in evidence.operations} == {Status.COMPLETED}
    assert evidence.effects[_task(evidence, Kind.APPROVAL).task.key] == 1
    return evidence


def _task(evidence: Evidence, kind: Kind) -> Followed:
    return next(one for one in evidence.followed if one.task.kind is kind)


def _operation(evidence: Evidence, kind: Kind) -> Operation:
    key = _task(evidence, kind).task.key
    return next(one for one in evidence.operations if one.client_request_id == key)


def _with_operation(evidence: Evidence, changed: Operation) -> Evidence:
    others = [one for one in evidence.operations if one.id != changed.id]
    return replace(evidence, operations=[*others, changed])


def _with_followed(evidence: Evidence, changed: Followed) -> Evidence:
    others = [one for one in evidence.followed if one.task.key != changed.task.key]
    return replace(evidence, followed=[*others, changed])


def an_operation_is_gone(good: Evidence) -> Evidence:
    gone = _operation(good, Kind.SAY)
    return replace(good, operations=[one for one in good.operations if one.id != gone.id])


def an_operation_never_ended(good: Evidence) -> Evidence:
    said = _operation(good, Kind.SAY)
    return _with_operation(
        good, replace(said, status=Status.RUNNING, completed_at=None, report=None)
    )


def a_call_was_never_answered(good: Evidence) -> Evidence:
    return replace(good, unanswered=["4.1: tools/call"])


def the_model_was_asked_in_two_turns(good: Evidence) -> Evidence:
    again = replace(good.requests[0], turn_id="another")
    return replace(good, requests=[*good.requests, again])


def the_model_was_asked_twice_in_one_turn(good: Evidence) -> Evidence:
    return replace(good, requests=[*good.requests, good.requests[0]])


def codex_has_the_message_twice(good: Evidence) -> Evidence:
    streamed = _operation(good, Kind.STREAM)
    assert streamed.thread_id is not None
    [turn] = good.threads[streamed.thread_id]
    again = replace(turn, id=TurnId("another"))
    return replace(good, threads={**good.threads, streamed.thread_id: [turn, again]})


def a_key_is_two_operations(good: Evidence) -> Evidence:
    twin = replace(_operation(good, Kind.SAY), id=OperationId("op_twin"))
    journals = {**good.journals, twin.id: good.journals[_operation(good, Kind.SAY).id]}
    return replace(good, operations=[*good.operations, twin], journals=journals)


def a_key_was_acknowledged_as_two(good: Evidence) -> Evidence:
    said = _task(good, Kind.SAY)
    names = {*said.operation_ids, _operation(good, Kind.PLAN).id}
    return _with_followed(good, replace(said, operation_ids=names))


def a_command_ran_twice(good: Evidence) -> Evidence:
    return replace(good, effects={**good.effects, _task(good, Kind.APPROVAL).task.key: 2})


def an_accepted_command_did_not_run(good: Evidence) -> Evidence:
    return replace(good, effects={**good.effects, _task(good, Kind.APPROVAL).task.key: 0})


def a_declined_command_ran(good: Evidence) -> Evidence:
    return _with_followed(good, replace(_task(good, Kind.APPROVAL), decisions={"decline"}))


def an_answer_on_record_was_not_given(good: Evidence) -> Evidence:
    [asked] = good.interactions
    return replace(good, interactions=[replace(asked, answer={"decision": "acceptForSession"})])


def a_question_is_open(good: Evidence) -> Evidence:
    [asked] = good.interactions
    return replace(good, interactions=[replace(asked, status=InteractionStatus.PENDING)])


def an_end_changed(good: Evidence) -> Evidence:
    said = _task(good, Kind.SAY)
    return _with_followed(good, replace(said, ends={*said.ends, ("interrupted", None)}))


def a_report_is_not_what_codex_has(good: Evidence) -> Evidence:
    streamed = _operation(good, Kind.STREAM)
    assert streamed.report is not None
    shorter = replace(streamed.report, text=streamed.report.text[:-1])
    return _with_operation(good, replace(streamed, report=shorter))


def a_report_is_not_what_it_usually_is(good: Evidence) -> Evidence:
    steered = _operation(good, Kind.STEERED)
    assert steered.thread_id is not None
    assert steered.report is not None
    other = "something else"
    [turn] = good.threads[steered.thread_id]
    items = tuple(
        replace(item, text=other) if isinstance(item, AgentMessage) else item for item in turn.items
    )
    threads = {**good.threads, steered.thread_id: [replace(turn, items=items)]}
    changed = replace(steered, report=replace(steered.report, text=other))
    return _with_operation(replace(good, threads=threads), changed)


def it_completed_without_codex_saying_so(good: Evidence) -> Evidence:
    held = _operation(good, Kind.HOLD)
    assert held.thread_id is not None
    [turn] = good.threads[held.thread_id]
    cut = replace(turn, status="interrupted")
    return replace(good, threads={**good.threads, held.thread_id: [cut]})


def it_was_interrupted_by_nobody(good: Evidence) -> Evidence:
    held = _operation(good, Kind.HOLD)
    cut = replace(held, status=Status.INTERRUPTED, report=None)
    return _with_operation(it_completed_without_codex_saying_so(good), cut)


def it_was_given_up_though_codex_has_it(good: Evidence) -> Evidence:
    held = replace(_operation(good, Kind.HOLD), status=Status.UNKNOWN, report=None)
    return _with_operation(good, held)


def it_failed_for_no_reason(good: Evidence) -> Evidence:
    return _with_operation(good, replace(_operation(good, Kind.SAY), status=Status.FAILED))


def words_were_taken_that_codex_does_not_have(good: Evidence) -> Evidence:
    steered = _operation(good, Kind.STEERED)
    assert steered.thread_id is not None
    [turn] = good.threads[steered.thread_id]
    said = [item for item in turn.items if isinstance(item, UserMessage)]
    items = tuple(item for item in turn.items if item is not said[-1])
    return replace(good, threads={**good.threads, steered.thread_id: [replace(turn, items=items)]})


def words_died_with_another_app_server(good: Evidence) -> Evidence:
    died = words_died_with_their_app_server(good)
    [killed] = died.killed
    return replace(died, killed=[replace(killed, process=Identity(1, "another"))])


def words_died_with_an_app_server_before_they_were_taken(good: Evidence) -> Evidence:
    died = words_died_with_their_app_server(good)
    [killed] = died.killed
    return replace(died, killed=[replace(killed, at=killed.at - 60_000)])


def words_died_with_their_app_server(good: Evidence) -> Evidence:
    """Codex had said yes to them and not written them down yet."""
    without = words_were_taken_that_codex_does_not_have(good)
    steered = _operation(good, Kind.STEERED)
    assert steered.thread_id is not None
    assert steered.app_server_id is not None
    assert steered.completed_at is not None
    [turn] = without.threads[steered.thread_id]
    pid, _, started_at = steered.app_server_id.partition("@")
    killed = Killed(Role.APP_SERVER, Identity(int(pid), started_at), steered.completed_at)
    interrupted = replace(steered, status=Status.INTERRUPTED, report=None)
    threads = {**without.threads, steered.thread_id: [replace(turn, status="interrupted")]}
    followed = replace(_task(good, Kind.STEERED), ends=set())
    return _with_followed(
        _with_operation(replace(without, threads=threads, killed=[killed]), interrupted), followed
    )


def a_journal_has_a_gap(good: Evidence) -> Evidence:
    said = _operation(good, Kind.SAY)
    return replace(good, journals={**good.journals, said.id: good.journals[said.id][1:]})


def a_journal_has_a_repeat(good: Evidence) -> Evidence:
    said = _operation(good, Kind.SAY)
    first = good.journals[said.id][0]
    return replace(good, journals={**good.journals, said.id: [first, *good.journals[said.id]]})


def a_wish_is_open(good: Evidence) -> Evidence:
    said = _operation(good, Kind.SAY)
    wish = Wish("wi_1", said.id, WishKind.CANCEL, None, {}, "me", said.created_at, None)
    return replace(good, open_wishes=[wish])


def a_process_still_runs(good: Evidence) -> Evidence:
    return replace(good, left_running=["pid 1: codex app-server"])


@pytest.mark.parametrize(
    ("doctor", "harm", "promise"),
    [
        (an_operation_is_gone, Harm.LOST, "I2"),
        (an_operation_never_ended, Harm.LOST, "I5"),
        (a_call_was_never_answered, Harm.LOST, "I2"),
        (the_model_was_asked_in_two_turns, Harm.DOUBLED, "I1"),
        (the_model_was_asked_twice_in_one_turn, Harm.DOUBLED, "I1"),
        (codex_has_the_message_twice, Harm.DOUBLED, "I1"),
        (a_key_is_two_operations, Harm.DOUBLED, "I2"),
        (a_key_was_acknowledged_as_two, Harm.DOUBLED, "I2"),
        (a_command_ran_twice, Harm.DOUBLED, "I4"),
        (an_accepted_command_did_not_run, Harm.WRONG, "I4"),
        (a_declined_command_ran, Harm.WRONG, "I4"),
        (an_answer_on_record_was_not_given, Harm.WRONG, "I4"),
        (a_question_is_open, Harm.LOST, "I5"),
        (an_end_changed, Harm.WRONG, "I3"),
        (a_report_is_not_what_codex_has, Harm.WRONG, "I6"),
        (a_report_is_not_what_it_usually_is, Harm.WRONG, "I6"),
        (it_completed_without_codex_saying_so, Harm.WRONG, "I7"),
        (it_was_interrupted_by_nobody, Harm.WRONG, "I7"),
        (it_was_given_up_though_codex_has_it, Harm.WRONG, "I7"),
        (it_failed_for_no_reason, Harm.WRONG, "I7"),
        (words_were_taken_that_codex_does_not_have, Harm.WRONG, "I7"),
        (words_died_with_another_app_server, Harm.WRONG, "I7"),
        (words_died_with_an_app_server_before_they_were_taken, Harm.WRONG, "I7"),
        (a_journal_has_a_gap, Harm.WRONG, "I8"),
        (a_journal_has_a_repeat, Harm.WRONG, "I8"),
        (a_wish_is_open, Harm.WRONG, "I5"),
        (a_process_still_runs, Harm.WRONG, "I5"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_breach_is_found(good: Evidence, doctor: Doctor, harm: Harm, promise: str) -> None:
    found = {(breach.harm, breach.promise) for breach in check(doctor(good))}
    assert (harm, promise) in found


def test_words_that_died_with_their_app_server_are_no_breach(good: Evidence) -> None:
    assert check(words_died_with_their_app_server(good)) == []
