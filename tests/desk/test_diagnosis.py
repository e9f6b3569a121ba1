"""Each thing that can be wrong is provoked, and named right: with evidence, and what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codex_control_plane_mcp.clock import Moment, isoformat
from codex_control_plane_mcp.codex.inventory import Inventory, Wanted
from codex_control_plane_mcp.codex.words.things import Account, RateLimitWindow
from codex_control_plane_mcp.desk.capabilities import Asked
from codex_control_plane_mcp.desk.diagnosis import surroundings
from codex_control_plane_mcp.desk.diagnosis.facts import RECENT_SECONDS, Scope
from codex_control_plane_mcp.desk.diagnosis.rules import SILENCE_SECONDS, Category
from codex_control_plane_mcp.desk.runtime import AppServerState, CodexState, CodexWord
from codex_control_plane_mcp.desk.views_diagnostics import AnalysisView
from codex_control_plane_mcp.errors import OperationNotFound, ThreadNotFound, WorkflowNotFound
from codex_control_plane_mcp.model.ids import OperationId, ThreadId, WorkflowId
from codex_control_plane_mcp.model.journal import Category as Noted
from codex_control_plane_mcp.model.journal import Entry
from codex_control_plane_mcp.model.operation import Failed, Interrupted, Lost, Trouble
from codex_control_plane_mcp.store import workers
from tests.desk.reception import APP_SERVER, USER_INPUT, Reception, reception
from tests.desk.test_status import running, submitted

WHOLE = Scope()


async def found(at: Reception, scope: Scope = WHOLE, text: str = "") -> AnalysisView:
    """What is wrong; every finding has evidence and a next step."""
    analysis = await at.desk.analyze(scope, text)
    for finding in analysis.findings:
        assert all(finding.evidence), finding
        assert finding.next_step.endswith("."), finding
    return analysis


async def the_cause(at: Reception, scope: Scope = WHOLE) -> tuple[str, str]:
    cause = (await found(at, scope)).likely_root_cause
    assert cause is not None, "nothing was found"
    return cause.category, cause.confidence


def of(operation_id: str) -> Scope:
    return Scope(operation_id=OperationId(operation_id))


async def test_an_idle_install_has_nothing_wrong_with_it(at: Reception) -> None:
    analysis = await found(at)

    assert analysis.likely_root_cause is None
    assert analysis.findings == ()
    assert analysis.recommended_repair_actions == ()
    assert analysis.next_recommended_action == "none"
    assert at.runtime.asked == [(Wanted(), 3.0, False)], "nothing is started to look"


@pytest.mark.parametrize(
    ("code", "message", "category"),
    [
        ("unauthorized", "no", Category.AUTH_MISSING),
        ("httpConnectionFailed", "unexpected status 401 Unauthorized", Category.AUTH_MISSING),
        ("usageLimitExceeded", "Try again later.", Category.QUOTA_REACHED),
        ("rateLimitExceeded", "slower", Category.RATE_LIMITED),
        ("responseTooManyFailedAttempts", "last status: 429 Too Many", Category.RATE_LIMITED),
        ("responseStreamDisconnected", "it broke off", Category.MODEL_UNAVAILABLE),
        ("contextWindowExceeded", "too long", Category.CONTEXT_WINDOW_EXCEEDED),
        ("sandboxError", "denied", Category.SANDBOX_NOT_READY),
        ("CODEX_THREAD_NOT_FOUND", "no rollout found", Category.THREAD_MISSING),
        ("somethingElse", "who knows", Category.TURN_FAILED),
    ],
)
async def test_a_failed_turn_is_told_by_codexs_own_code_and_words(
    at: Reception, code: str, message: str, category: Category
) -> None:
    operation_id = await running(at)
    await at.workshop.record(operation_id, Failed(Trouble(code, message)))

    analysis = await found(at, of(operation_id))

    (finding,) = analysis.findings
    assert (finding.category, finding.operation_id) == (category, operation_id)
    assert code in finding.evidence[0]


async def test_what_failed_is_over_once_another_task_went_well_or_time_has_passed(
    at: Reception,
) -> None:
    failed = await running(at)
    await at.workshop.record(failed, Failed(Trouble("usageLimitExceeded", "later")))
    assert await the_cause(at) == (Category.QUOTA_REACHED, "high")
    at.clock.at += round(RECENT_SECONDS * 1000) + 1
    assert (await found(at)).findings == ()
    at.clock.at -= round(RECENT_SECONDS * 1000)
    await at.workshop.complete(await running(at, 2), turn="u-2")

    assert (await found(at)).findings == ()
    assert await the_cause(at, of(failed)) == (Category.QUOTA_REACHED, "high"), "asked by name"


async def test_an_app_server_that_took_a_turn_with_it_is_named(at: Reception) -> None:
    operation_id = await running(at)
    ended = Interrupted(
        Trouble("CODEX_APP_SERVER_UNAVAILABLE", "the app-server ended during the turn")
    )
    await at.workshop.record(operation_id, ended)

    assert await the_cause(at) == (Category.INTERRUPTED_BY_EXIT, "high")


async def test_nobody_logged_in_is_known_before_a_task_fails(at: Reception) -> None:
    at.runtime.word = CodexWord(inventory=Inventory(account=Account(None, None, True)))
    await at.desk.capabilities(Asked(refresh=True))

    assert await the_cause(at) == (Category.AUTH_MISSING, "high")


async def test_a_limit_that_is_used_up_says_until_when(at: Reception) -> None:
    window = RateLimitWindow("primary", 100, 300, 1_767_229_200)
    at.runtime.word = CodexWord(inventory=Inventory(rate_limits=(window,)))
    await at.desk.capabilities(Asked(refresh=True))

    (finding,) = (await found(at)).findings

    assert finding.category == Category.QUOTA_REACHED
    assert "2026-01-01T01:00:00" in finding.next_step


async def test_a_windows_sandbox_that_is_not_set_up_is_named(at: Reception) -> None:
    at.runtime.word = CodexWord(inventory=Inventory(sandbox_readiness="notConfigured"))
    await at.desk.capabilities(Asked(refresh=True))

    assert await the_cause(at) == (Category.SANDBOX_NOT_READY, "high")


async def test_an_app_server_that_is_gone_is_named_with_what_may_be_done(at: Reception) -> None:
    operation_id = await running(at)
    at.runtime.gone.add(APP_SERVER)

    analysis = await found(at)

    assert await the_cause(at) == (Category.APP_SERVER_GONE, "high")
    (advice,) = analysis.recommended_repair_actions
    assert advice.action == "mark_orphaned_after_exit"
    assert advice.arguments == {"operation_id": operation_id}
    assert not advice.needs_force


async def test_an_app_server_that_does_not_answer_is_named(at: Reception) -> None:
    operation_id = await running(at)
    at.runtime.state = AppServerState(running=True, pid=4711, connected=False)
    tried = Entry(Noted.NOTICE, "Trying again: the app-server (pid 4711) does not answer")
    await at.workshop.record(operation_id, entries=[tried])

    assert await the_cause(at) == (Category.APP_SERVER_UNREACHABLE, "high")
    at.runtime.state = AppServerState(running=True, pid=4711, connected=True)
    assert (await found(at)).likely_root_cause is None


async def test_an_app_server_that_hangs_is_named_with_what_force_is_for(at: Reception) -> None:
    at.runtime.state = AppServerState(running=True, pid=4711, connected=True)
    at.runtime.answering = False

    analysis = await found(at)

    assert await the_cause(at) == (Category.APP_SERVER_UNREACHABLE, "high")
    (advice,) = analysis.recommended_repair_actions
    assert (advice.action, advice.needs_force) == ("force_restart_app_server", True)
    assert at.runtime.asked == [], "nobody waits for what it would not say"


async def test_an_app_server_that_ended_by_itself_while_idle_is_only_mentioned(
    at: Reception,
) -> None:
    at.runtime.state = AppServerState(running=False, died=True)

    assert await the_cause(at) == (Category.APP_SERVER_GONE, "low")


async def test_without_codex_that_is_the_cause(at: Reception) -> None:
    at.runtime.binary = CodexState(problem="no Codex found: install it")

    assert await the_cause(at) == (Category.CODEX_MISSING, "high")


@pytest.mark.parametrize(
    ("version", "category"),
    [
        ("0.133.0", Category.CODEX_TOO_OLD),
        ("0.200.1", Category.CODEX_TOO_NEW),
        ("0.163.0", Category.CODEX_UNFIT),
        (None, Category.CODEX_UNFIT),
    ],
)
async def test_a_codex_that_must_not_be_used_is_too_old_or_too_new(
    at: Reception, version: str | None, category: Category
) -> None:
    at.runtime.binary = CodexState(
        Path("/opt/codex"), version, "not taken into service", refused=("turn/start lost sandbox",)
    )

    assert await the_cause(at) == (category, "high")


async def test_an_approval_and_a_question_that_wait_are_told_apart(at: Reception) -> None:
    operation_id = await running(at)
    interaction_id = await at.workshop.ask(operation_id, {"command": "rm -rf build"})
    at.clock.at += 90_000

    analysis = await found(at, of(operation_id))

    (finding,) = analysis.findings
    assert finding.category == Category.APPROVAL_WAITING
    assert finding.evidence == (f"{interaction_id} (approval) is open for 90 s",)
    question = {"questions": [{"id": "q", "header": "h", "question": "Why?", "options": []}]}
    await at.workshop.ask(operation_id, question, USER_INPUT, request_id=2)
    categories = {one.category for one in (await found(at)).findings}
    assert categories == {Category.APPROVAL_WAITING, Category.USER_INPUT_WAITING}


async def test_a_question_of_an_app_server_that_is_gone_can_expire(at: Reception) -> None:
    operation_id = await running(at)
    await at.workshop.ask(operation_id)
    at.runtime.gone.add(APP_SERVER)

    analysis = await found(at)

    categories = {one.category for one in analysis.findings}
    assert categories == {Category.APP_SERVER_GONE, Category.STALE_INTERACTION}
    actions = {one.action for one in analysis.recommended_repair_actions}
    assert "expire_stale_pending_interactions" in actions


async def test_what_nobody_knows_is_said_to_be_unknown(at: Reception) -> None:
    operation_id = await running(at)
    lost = Lost(Trouble("CODEX_APP_SERVER_UNAVAILABLE", "Codex has no record of it"))
    await at.workshop.record(operation_id, lost)

    assert await the_cause(at) == (Category.UNKNOWN_AFTER_EXIT, "high")


async def test_a_task_that_waits_says_for_which_limit(tmp_path: Path) -> None:
    with reception(tmp_path, max_active_turns_global=1) as at:
        await running(at)
        waiting = await submitted(at, "another")

        assert await the_cause(at, of(waiting)) == (Category.QUEUE_WAITING, "high")


async def test_silence_is_a_fact_and_no_failure(at: Reception) -> None:
    operation_id = await running(at)
    at.runtime.state = AppServerState(running=True, connected=True)
    at.clock.at += round(SILENCE_SECONDS * 1000) - 1
    assert (await found(at)).findings == ()
    at.clock.at += 1

    assert await the_cause(at, of(operation_id)) == (Category.SILENCE, "low")


async def test_a_model_that_codex_keeps_asking_is_named(at: Reception) -> None:
    operation_id = await running(at)
    again = Entry(Noted.NOTICE, "Codex tries again after: connection refused")
    await at.workshop.record(operation_id, entries=[again])

    assert await the_cause(at) == (Category.MODEL_UNAVAILABLE, "medium")


async def test_an_operation_of_an_earlier_worker_is_stale(at: Reception) -> None:
    operation_id = await running(at)
    for name in ("w-1", "w-2"):
        await at.book.write(lambda writing, name=name: workers.enter(writing, name, 1, "0.3.0"))  # type: ignore[misc]

    analysis = await found(at, of(operation_id))

    assert [one.category for one in analysis.findings] == [Category.STALE_OPERATION]
    assert analysis.recommended_repair_actions[0].action == "recover_stale_operations"


async def test_a_clock_that_stepped_back_is_named(at: Reception) -> None:
    await running(at)
    at.clock.at -= 3_600_000

    assert await the_cause(at) == (Category.CLOCK_SKEW, "high")


async def test_a_full_disk_is_named(at: Reception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "FULL_DISK_BYTES", 10**18)
    monkeypatch.setattr(surroundings, "LOW_DISK_BYTES", 10**18)

    assert await the_cause(at) == (Category.DISK_FULL, "high")


async def test_roots_that_are_missing_are_named(tmp_path: Path) -> None:
    with reception(tmp_path, projects_root=None) as at:
        assert await the_cause(at) == (Category.NO_ROOTS, "high")
    with reception(tmp_path / "more", allowed_roots=(tmp_path / "gone",)) as at:
        assert await the_cause(at) == (Category.PATH_MISSING, "high")


async def test_what_callers_were_refused_is_found_in_the_log(at: Reception) -> None:
    operation_id = await submitted(at)
    at_hand = {"at": isoformat(Moment(at.clock.at)), "level": "WARNING"}
    long_ago = {**at_hand, "at": "2025-12-31T00:00:00.000Z"}
    full = {**long_ago, "message": "the queue waits: the disk is full"}
    lines: list[dict[str, str]] = [
        full,
        {
            **at_hand,
            "message": "codex_submit_task: the same prompt is being worked on",
            "code": "CODEX_DUPLICATE_PROMPT_ACTIVE",
            "existingOperationId": operation_id,
        },
        {
            **at_hand,
            "message": "codex_submit_task: cwd leads outside the allowed folders; allowed are: /p",
            "code": "INVALID_ARGUMENT",
            "field": "cwd",
        },
    ]
    at.settings.worker_log.write_text("".join(json.dumps(line) + "\n" for line in lines))

    categories = [one.category for one in (await found(at)).findings]
    assert categories == [Category.DUPLICATE_PROMPT, Category.PATH_OUTSIDE_ROOTS]
    (finding,) = (await found(at, of(operation_id))).findings
    assert finding.category == Category.DUPLICATE_PROMPT


async def test_words_alone_only_hint(at: Reception) -> None:
    analysis = await found(at, text="It got stuck, and then 'usage limit reached'")

    assert [(one.category, one.confidence) for one in analysis.findings] == [
        (Category.SILENCE, "low"),
        (Category.QUOTA_REACHED, "low"),
    ]


async def test_a_scope_that_does_not_exist_is_not_found(at: Reception) -> None:
    for scope, error in (
        (Scope(operation_id=OperationId("op_x")), OperationNotFound),
        (Scope(workflow_id=WorkflowId("wf_x")), WorkflowNotFound),
        (Scope(thread_id=ThreadId("t-x")), ThreadNotFound),
    ):
        with pytest.raises(error):
            await at.desk.analyze(scope)


# --- What is collected for a bug report ----------------------------------------------------------


async def test_the_timeline_leads_from_the_submission_to_the_report(at: Reception) -> None:
    operation_id = await running(at)
    at.clock.at += 2_000
    await at.workshop.ask(operation_id, {"command": "cat ~/.ssh/id_rsa"})
    at.clock.at += 3_000
    await at.workshop.complete(operation_id, "the secret plan of the shop")

    shown = await at.desk.collect(of(operation_id))

    told = [event.text for event in shown.timeline]
    assert told[0] == "Queued."
    assert told[-1] == "Completed."
    assert any(text.endswith("opened") for text in told)
    assert sum(event.after_seconds or 0 for event in shown.timeline) == 5
    assert (shown.operations[0].report_chars, shown.operations[0].status) == (27, "completed")


async def test_no_word_of_what_was_asked_answered_or_run_is_in_a_bug_report(
    at: Reception,
) -> None:
    operation_id = await submitted(at, "the prompt about Rumpelstiltskin")
    await at.workshop.start(operation_id)
    await at.workshop.say(operation_id, "Rumpelstiltskin it is")
    await at.workshop.note(operation_id, "$ echo Rumpelstiltskin")
    await at.workshop.ask(operation_id, {"command": "echo Rumpelstiltskin"})
    await at.workshop.complete(operation_id, "Rumpelstiltskin")

    assert "Rumpelstiltskin" not in repr(await at.desk.collect(of(operation_id)))


async def test_a_persons_home_folder_is_not_named(
    at: Reception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(at.settings.state_db.parent))
    operation_id = await running(at)
    home = str(at.settings.state_db.parent)
    trouble = Trouble("other", f"cannot read {home}/x")
    await at.workshop.record(operation_id, Failed(trouble))
    line = {
        "at": isoformat(Moment(at.clock.at)),
        "level": "ERROR",
        "message": f"in {home}",
        "exception": f"at {home}",
    }
    at.settings.worker_log.write_text(json.dumps(line) + "\n")

    shown = await at.desk.collect(WHOLE)

    assert home not in repr(shown)
    assert "~/x" in repr(shown)


async def test_a_long_course_is_shown_from_both_ends(at: Reception) -> None:
    operation_id = await running(at)
    for number in range(100):
        await at.workshop.record(operation_id, entries=[Entry(Noted.NOTICE, f"notice {number}")])

    shown = await at.desk.collect(of(operation_id))

    assert len(shown.timeline) == 41
    assert shown.timeline[0].text == "Queued."
    assert "left out" in shown.timeline[10].text
    assert shown.timeline[-1].text == "notice 99"


async def test_each_part_is_checked(at: Reception) -> None:
    before = {one.name: one.status for one in (await at.desk.collect(WHOLE)).checks}
    assert before.pop("login") == "unknown"
    assert before.pop("worker") == "unknown"
    assert set(before.values()) == {"ok"}
    at.runtime.binary = CodexState(problem="no Codex found: install it")

    shown = await at.desk.collect(WHOLE)

    assert {one.name for one in shown.checks if one.status == "failed"} == {"codex"}
    assert (shown.overall_status, shown.diagnosis_confidence) == ("broken", "high")
    assert shown.next_recommended_action == "follow_findings"
    assert shown.generated_at == Moment(at.clock.at)
