"""The commands that look into the state: they show what is there, and start nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from codex_control_plane_mcp.doors.cli.admin import app
from codex_control_plane_mcp.doors.cli.exits import Exit, of_code, of_end, of_repair, table
from codex_control_plane_mcp.doors.cli.speaking import PROGRAM
from codex_control_plane_mcp.doors.cli.words import lasted, plain
from codex_control_plane_mcp.model.operation import FINAL, Failed, Trouble
from codex_control_plane_mcp.model.repair import Outcome
from codex_control_plane_mcp.store import workflows
from tests.cli.books import TRICK, asking, begun, completed, said
from tests.cli.commands import ADMIN, Typed, environment, processes_of, run, told
from tests.store.actors import Desk
from tests.store.actors import desk as desk_at
from tests.store.test_workflows import a_plan, row

ESCAPE = "\x1b"


@pytest.fixture
def state(folder: Path) -> Path:
    path = folder / "state" / "state.sqlite3"
    path.parent.mkdir(mode=0o700)
    return path


@pytest.fixture
def desk(state: Path) -> Iterator[Desk]:
    """Whoever wrote the state that the commands find."""
    with desk_at(state) as desk:
        desk.enter()
        yield desk


def test_before_the_first_task_nothing_is_listed_and_nothing_made(
    typed: Typed, folder: Path
) -> None:
    assert typed("ps")[:2] == (
        0,
        "No tasks yet. codex-control-plane-mcp-admin submit hands one in.\n",
    )
    assert told(typed("ps", "--json"))["active"] == []
    assert typed("pending")[:2] == (0, "Nothing waits for you.\n")
    assert typed("show", "op_1")[0] == Exit.USAGE
    assert not (folder / "state").exists()


def test_tasks_are_listed_with_what_somebody_should_know(desk: Desk, typed: Typed) -> None:
    running = begun(desk, "Mend the roof", thread="roof")
    asking(desk, begun(desk, "Deploy it", thread="deploy"))
    waiting = desk.submit(desk.submission("Paint the door", project="roof"))
    failed = desk.record(
        begun(desk, "Dig a well", thread="well"), Failed(Trouble("usageLimitExceeded", "No more."))
    )
    code, shown, _ = typed("ps")
    assert code == 0
    lines = {line.split()[0]: line for line in shown.splitlines() if line.startswith("op_")}
    assert "running" in lines[running.id]
    assert "queued" in lines[waiting.id]
    assert "failed" in lines[failed.id]
    assert "1 question waits for an answer" in shown
    assert "usageLimitExceeded: No more." in shown
    assert "2 at work, 1 in the queue, 1 for you to decide" in shown

    listed = told(typed("ps", "--json"))
    assert [one["operationId"] for one in listed["queued"]] == [waiting.id]
    assert {one["status"] for one in listed["active"]} == {"running", "waiting_for_approval"}
    assert listed["ended"][0]["lastError"] == {"code": "usageLimitExceeded", "message": "No more."}
    assert told(typed("ps", "--json", "--ended", "0"))["ended"] == []


def test_a_plan_that_nobody_decided_on_is_listed_and_shown(desk: Desk, typed: Typed) -> None:
    planned = a_plan(desk, "# The roof\n\n1. Look at it.\n<!-- and sell it -->", "u-1")
    workflow = row(planned, title="The roof")
    desk.write(lambda writing: workflows.insert_workflow(writing, workflow, "hash"))

    (line,) = told(typed("ps", "--json"))["undecided"]
    assert (line["workflowId"], line["phase"]) == (workflow.id, "plan_ready")
    assert f"approve {workflow.id}" in typed("pending")[1]
    code, shown, _ = typed("show", workflow.id)
    assert code == 0
    assert "1. Look at it." in shown
    assert "<!-- and sell it -->" in shown  # to the letter, as it would be carried out
    assert line["planHash"] in shown
    assert "workspace-write, on-request" in shown  # what it would be carried out with
    code, _, refused = typed("approve", workflow.id)
    assert (code, "--plan-hash" in refused) == (Exit.USAGE, True)


def test_a_task_is_shown_whole_however_long_its_report_is(desk: Desk, typed: Typed) -> None:
    report = "\n".join(f"{number}. finding" for number in range(3_000))
    operation = completed(desk, said(desk, begun(desk, "Look", key="k"), "I look. "), report)
    code, shown, _ = typed("show", operation.id)
    assert (code, shown.count(". finding")) == (0, 3_000)
    document = told(typed("show", operation.id, "--json"))
    assert document["finalReport"]["text"] == report
    assert document["finalReport"]["nextOffset"] is None
    assert (document["clientRequestId"], document["message"]) == ("k", "Look")
    assert "truncated" not in document


def test_how_an_id_begins_is_enough_where_it_means_one(desk: Desk, typed: Typed) -> None:
    first = begun(desk, "One", thread="a")
    desk.clock.move(60)
    second = begun(desk, "Two", thread="b")
    shared = next(n for n in range(len(first.id)) if first.id[n] != second.id[n])
    assert told(typed("show", first.id[: shared + 1], "--json"))["operationId"] == first.id

    code, _, refused = typed("show", first.id[:shared])
    assert (code, first.id in refused, second.id in refused) == (Exit.USAGE, True, True)
    code, stdout, _ = typed("show", "op_nothing", "--json")
    envelope = json.loads(stdout)
    assert (code, envelope["ok"], envelope["exitCode"]) == (Exit.NOT_FOUND, False, Exit.NOT_FOUND)
    assert envelope["error"]["code"] == "CODEX_OPERATION_NOT_FOUND"
    assert typed("show", "roof")[0] == Exit.USAGE
    assert typed("show", "op%")[0] == Exit.USAGE


def test_a_question_is_shown_in_full_and_what_a_terminal_would_obey_is_spelled_out(
    desk: Desk, typed: Typed
) -> None:
    long = f"{TRICK} {'x' * 5_000} && make deploy"
    asked = asking(desk, begun(desk, "Deploy"), command=long, reason="\u202eesrever")
    code, shown, _ = typed("pending")
    assert code == 0
    assert ESCAPE not in shown
    assert r"rm -rf /srv\x1b[2K\x0dls" in shown
    assert r"\u202eesrever" in shown
    assert re.sub(r"\s", "", "x" * 5_000 + "&&makedeploy") in re.sub(r"\s", "", shown)
    assert f"answer {asked.id}" in shown
    (listed,) = told(typed("pending", "--json"))["interactions"]
    assert listed["command"] == long


def test_without_a_terminal_nobody_is_asked(desk: Desk, typed: Typed) -> None:
    asked = asking(desk, begun(desk, "Deploy"))
    code, shown, refused = typed("answer", asked.id)
    assert (code, shown) == (Exit.USAGE, "")
    assert "--decision" in refused
    assert typed("answer", "--decision", "accept", "op_nothing")[0] == Exit.NOT_FOUND


def test_the_log_of_a_task_is_to_the_letter(desk: Desk, typed: Typed) -> None:
    operation = said(desk, begun(desk, "Look"), *(f"line {n}" for n in range(700)))
    _, shown, _ = typed("logs", operation.id, "-n", "3")
    assert [line.split("» ")[1] for line in shown.splitlines()] == [
        "line 697",
        "line 698",
        "line 699",
    ]
    events = told(typed("logs", operation.id, "--json", "-n", "0"))["events"]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["text"] == "line 699"


def test_the_end_of_the_workers_log_is_printed(state: Path, typed: Typed) -> None:
    assert typed("logs")[0] == Exit.NOT_FOUND
    log = state.with_name(f"{state.name}.worker.log")
    log.write_text("one\ntwo\nkey=sk-abcdefghijklmnopqrstuvwx\n", encoding="utf-8")
    code, shown, _ = typed("logs", "-n", "2")
    assert (code, shown.splitlines()[0]) == (0, "two")
    assert "abcdefgh" not in shown
    assert told(typed("logs", "--json", "-n", "1"))["lines"] == ["key=[redacted]"]


def test_in_a_pipe_nothing_is_coloured_or_cut(desk: Desk, folder: Path) -> None:
    title = "A long title that says all that there is to say about this roof and the house below"
    operation = begun(desk, title)
    done = run(ADMIN, "ps", env=environment(folder, TERM="xterm-256color", COLUMNS="40"))
    assert done.returncode == 0, done.stderr
    assert ESCAPE not in done.stdout
    (line,) = (line for line in done.stdout.splitlines() if line.startswith(operation.id))
    assert title[:70] in line
    assert processes_of(folder) == []


def test_the_doctor_says_what_is_wrong_and_how_to_mend_it(
    typed: Typed, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEX_BINARY_PATH", str(folder / "no-codex"))
    monkeypatch.setenv("CODEX_ALLOWED_ROOTS", str(folder / "gone"))
    code, stdout, _ = typed("doctor", "--json")
    document = json.loads(stdout)
    assert (code, document["ok"], document["overallStatus"]) == (Exit.FAILED, False, "broken")
    checks = {check["name"]: check for check in document["checks"]}
    assert (checks["Codex"]["verdict"], checks["allowed root"]["verdict"]) == ("broken", "advice")
    assert "no-codex" in checks["Codex"]["found"]
    assert all(check["advice"] for check in checks.values() if check["verdict"] != "ok")
    assert "does not run" in checks["worker"]["found"]
    assert document["health"] is None
    code, shown, _ = typed("doctor")
    assert (code, "→" in shown) == (Exit.FAILED, True)
    assert processes_of(folder) == []


def test_the_doctor_finds_in_the_state_what_went_wrong_and_starts_nothing(
    desk: Desk, typed: Typed, folder: Path
) -> None:
    asking(desk, begun(desk, "Deploy it", thread="deploy"))
    trouble = Trouble("usageLimitExceeded", f"Try again at 18:00. {TRICK}")
    failed = desk.record(begun(desk, "Dig a well", thread="well"), Failed(trouble))
    document = json.loads(typed("doctor", "--json")[1])
    findings = {one["category"]: one for one in document["analysis"]["findings"]}
    assert findings["quota_reached"]["operationId"] == failed.id
    checks = {check["name"]: check for check in document["checks"]}
    assert checks["quota reached"]["verdict"] == "advice"
    assert "18:00" in checks["quota reached"]["found"]
    assert "Wait until" in checks["quota reached"]["advice"]
    assert "approval waiting" in checks
    assert "no roots" not in checks  # it is among what was looked at
    shown = typed("doctor")[1]
    assert "usage limit is reached" in shown
    assert ESCAPE not in shown
    assert processes_of(folder) == []


def test_the_doctor_names_the_command_that_mends(desk: Desk, typed: Typed) -> None:
    left = begun(desk, "Dig a well")
    desk.enter()
    shown = typed("doctor")[1]
    assert "left behind by an earlier worker" in shown
    assert f"{PROGRAM} repair recover_stale_operations" in shown
    assert left.id in {one.get("operationId") for one in _findings(typed)}


def _findings(typed: Typed) -> list[dict[str, Any]]:
    findings: list[dict[str, Any]] = json.loads(typed("doctor", "--json")[1])["analysis"][
        "findings"
    ]
    return findings


def test_a_damaged_state_is_called_so(state: Path, typed: Typed) -> None:
    state.write_bytes(b"no database " * 1_000)
    checks = json.loads(typed("doctor", "--json")[1])["checks"]
    (verdict,) = (check["verdict"] for check in checks if check["name"] == "state")
    assert verdict == "broken"
    assert typed("ps")[0] == Exit.UNREACHABLE


@pytest.mark.parametrize("command", [one.callback for one in app.registered_commands])
def test_every_command_explains_its_exit_codes(command: Callable[..., None], typed: Typed) -> None:
    name = command.__name__.rstrip("_").replace("_", "-")
    code, shown, _ = typed(name, "--help")
    assert (code, "Exit codes" in shown) == (0, True)


def test_what_comes_of_a_repair_has_an_exit_code() -> None:
    assert {of_repair(outcome) for outcome in (*Outcome, "running")} == {
        Exit.DONE,
        Exit.REFUSED,
        Exit.FAILED,
        Exit.UNKNOWN,
        Exit.TIMEOUT,
    }


def test_every_end_has_an_exit_code_of_its_own_meaning() -> None:
    ends = {status: of_end(status) for status in FINAL}
    assert [status for status, code in ends.items() if code is Exit.DONE] == ["completed"]
    assert of_code("CODEX_THREAD_NOT_FOUND") is Exit.NOT_FOUND
    assert of_code("CODEX_IDEMPOTENCY_MISMATCH") is Exit.REFUSED


def test_the_readme_has_the_table_of_exit_codes() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert table() in readme


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("a\tb\nc", "a\tb\nc"),
        ("a\u200bb", r"a\u200bb"),
        ("Straße, 日本", "Straße, 日本"),
        ("half \ud800", "half ?"),
    ],
)
def test_what_a_terminal_would_obey_is_spelled_out(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_ages_are_told_in_two_figures() -> None:
    assert [lasted(n) for n in (0, 59.9, 60, 7_200, 200_000)] == [
        "0 s",
        "59 s",
        "1 min",
        "2 h",
        "2 d",
    ]


def test_metrics_are_those_of_the_state(desk: Desk, typed: Typed) -> None:
    asking(desk, begun(desk, "Deploy it", thread="deploy"))
    desk.submit(desk.submission("Paint the door"))
    code, shown, _ = typed("metrics")
    assert code == 0
    lines = shown.splitlines()
    assert "codex_control_plane_queue_depth 1" in lines
    assert 'codex_control_plane_operations{status="waiting_for_approval"} 1' in lines
    assert "codex_control_plane_pending_interactions 1" in lines
    document = told(typed("metrics", "--json"))
    assert (document["queueDepth"], document["activeTurns"]) == (1, 1)
    assert document["workerPresent"] is True


def test_before_the_first_task_metrics_are_zero(typed: Typed, folder: Path) -> None:
    code, shown, _ = typed("metrics")
    assert code == 0
    assert "codex_control_plane_queue_depth 0" in shown.splitlines()
    assert not (folder / "state").exists()


def test_the_book_of_a_fleet_is_looked_into_as_well(
    typed: Typed, folder: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEX_MCP_DATABASE_URL", postgres_url.replace("+psycopg", ""))
    with desk_at(postgres_url) as desk:
        desk.enter()
        operation = begun(desk, "Mend the till.")
    assert "Mend the till." in typed("ps")[1]
    assert told(typed("show", operation.id, "--json"))["operationId"] == operation.id
    assert typed("notices", "list")[1] == "No notices.\n"
    state = folder / "state"
    state.mkdir(mode=0o700)
    assert "the fleet's, postgresql://" in typed("doctor")[1]
    assert not (state / "state.sqlite3").exists()
