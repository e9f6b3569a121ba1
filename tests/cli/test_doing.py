"""The commands that have something done, on real Codex: handed in, followed, decided, ended."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from codex_control_plane_mcp.doors.cli import client
from codex_control_plane_mcp.doors.cli.admin import app
from codex_control_plane_mcp.doors.cli.exits import Exit
from codex_control_plane_mcp.scripted_model import (
    ScriptedModel,
    serving_in_thread,
    write_codex_home,
)
from tests.cli.commands import ADMIN, command, environment, processes_of, run
from tests.cli.terminals import Person, at_a_terminal, needs_a_terminal

pytestmark = pytest.mark.real

Document = dict[str, Any]

#: The pipe inherits the standard error that was there when this was imported: it must be a file.
assert client.CLIENT_NAME


class Shell:
    """Where the commands are typed: a project, a state and Codex, all of the test's own. Most run
    in the test's process, which spares them their start."""

    def __init__(self, folder: Path, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.model = model
        self.project = folder / "shop"
        self.project.mkdir()
        self.env = environment(
            folder,
            CODEX_MCP_APP_SERVER="private",
            CODEX_ALLOWED_ROOTS=str(folder),
            TERM="xterm-256color",
        )
        write_codex_home(Path(self.env["CODEX_HOME"]), model.base_url)
        for name, value in self.env.items():
            monkeypatch.setenv(name, value)

    def types(self, *arguments: str) -> tuple[int, str]:
        """The exit code, and what went to standard output, or else to standard error."""
        done = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert "\x1b" not in done.output
        return done.exit_code, done.stdout or done.stderr

    def told(self, *arguments: str) -> tuple[int, Document]:
        code, said = self.types(*arguments, "--json")
        (line,) = said.splitlines()
        document: Document = json.loads(line)
        return code, document

    def at_a_terminal(self, *arguments: str) -> AbstractContextManager[Person]:
        return at_a_terminal(command(ADMIN, *arguments), self.env)


@pytest.fixture
def shell(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    pytest.importorskip("codex_cli_bin")
    with serving_in_thread() as model:
        shell = Shell(folder, model, monkeypatch)
        yield shell
        for one in shell.told("ps")[1]["active"]:
            shell.types("cancel", one["operationId"])
    # The model is gone, so a turn that hung on it ends.
    run(ADMIN, "stop", "--force", env=shell.env)
    assert processes_of(folder) == []


ASKING = "Deploy it.\nsay I look first.\nrun! printf 1 > deployed.txt # because The release is due."


def test_a_task_there_and_back_and_the_same_call_again_goes_on_with_it(shell: Shell) -> None:
    job = ("--key", "job-1", "--cwd", str(shell.project), "--sandbox", "workspace-write")
    code, receipt = shell.told("submit", ASKING, *job)
    id_ = receipt["operationId"]
    assert (code, receipt["clientRequestId"]) == (0, "job-1")

    # The job comes again. It goes on with the same task, and leaves when a person is needed.
    code, left = shell.told("run", ASKING, *job, "--wait")
    assert (code, left["operationId"]) == (Exit.WANTS_SOMEBODY, id_)
    assert (left["ok"], left["outcome"], left["idempotent"]) == (False, "wants_somebody", True)
    assert left["pendingInteractions"][0]["reason"] == "The release is due."

    listed = shell.told("ps")[1]
    assert [(one["operationId"], one["pendingInteractionCount"]) for one in listed["active"]] == [
        (id_, 1)
    ]
    asked = shell.told("pending", id_)[1]["interactions"][0]
    assert "printf 1 > deployed.txt" in asked["command"]
    assert asked["command"] in shell.types("pending")[1]

    # Watching may be left; the task is not.
    code, said = shell.types("watch", id_, "--timeout", "1", "--json")
    assert code == Exit.TIMEOUT
    lines = [json.loads(line) for line in said.splitlines()]
    assert [line["text"] for line in lines if line["type"] == "event"][-1].startswith("Codex waits")
    assert lines[-1]["pendingInteractions"][0]["interactionId"] == asked["interactionId"]

    assert shell.types("answer", id_, "--decision", "perhaps")[0] == Exit.USAGE
    code, receipt = shell.told("answer", asked["interactionId"], "--decision", "accept")
    assert (code, receipt["status"]) == (0, "answered")
    assert shell.types("answer", id_, "--decision", "accept")[0] == Exit.NOT_FOUND

    code, said = shell.types("run", ASKING, *job)
    assert code == 0, said
    code, again = shell.told("run", ASKING, *job)
    assert (code, again["status"], again["idempotent"]) == (0, "completed", True)
    code, shown = shell.told("show", id_)
    assert (code, shown["finalReport"]["text"]) == (0, again["finalReport"]["text"])
    assert (shell.project / "deployed.txt").read_text() == "1"
    assert shell.types("watch", id_)[0] == 0
    assert shell.types("cancel", id_)[0] == Exit.REFUSED
    assert shell.types("run", "Something else", *job)[0] == Exit.REFUSED
    assert shell.told("search", "deploy")[1]["results"][0]["operationId"] == id_


def test_a_plan_is_asked_about_approved_by_its_hash_and_followed_to_its_end(shell: Shell) -> None:
    question = "ask Which oil? | Linseed: slow | Mineral: fast"
    wish = f"Mend it.\n{question}\nplan # Mend\\n\\n1. Oil the till."
    job = ("--plan", "--key", "plan-1", "--cwd", str(shell.project))
    code, asking = shell.told("run", wish, *job)
    assert (code, asking["phase"]) == (Exit.WANTS_SOMEBODY, "waiting_for_user_input")
    workflow = asking["workflowId"]
    assert "Linseed  slow" in shell.types("pending", workflow)[1]
    assert shell.types("answer", workflow, "--answer", "Linseed")[0] == 0

    code, planned = shell.told("run", wish, *job)
    assert (code, planned["phase"]) == (Exit.WANTS_SOMEBODY, "plan_ready")
    plan = planned["latestPlan"]
    assert shell.types("approve", workflow, "--plan-hash", "0" * 64)[0] == Exit.USAGE
    code, receipt = shell.told("approve", workflow[:-2], "--plan-hash", plan["planHash"])
    assert (code, receipt["workflowId"]) == (0, workflow)
    code, followed = shell.told("run", wish, *job)
    assert (code, followed["phase"], followed["idempotent"]) == (0, "completed", True)
    assert shell.types("watch", workflow)[0] == 0


def test_a_task_that_fails_and_one_that_is_ended_have_codes_of_their_own(shell: Shell) -> None:
    at = ("--cwd", str(shell.project))
    assert shell.types("run", "Try.\nfail 400 invalid_request_error No.", *at)[0] == Exit.FAILED
    id_ = shell.told("submit", "Wait.\nhold the-end", *at)[1]["operationId"]
    code, left = shell.told("run", "Wait.\nhold the-end", *at)
    assert (code, left["error"]["code"]) == (Exit.REFUSED, "CODEX_DUPLICATE_PROMPT_ACTIVE")
    assert left["error"]["details"]["existingOperationId"] == id_
    assert shell.types("cancel", id_)[0] == 0
    assert shell.types("watch", id_)[0] == Exit.STOPPED


@needs_a_terminal
def test_ctrl_c_ends_the_watching_and_not_the_task(shell: Shell) -> None:
    id_ = shell.told("submit", "Wait.\nhold the-end\nsay Done.", "--cwd", str(shell.project))[1][
        "operationId"
    ]
    for arguments in (("watch", id_), ("watch",)):
        with shell.at_a_terminal(*arguments) as person:
            person.reads("running")
            person.signals(signal.SIGINT)
            person.reads("the work goes on")
            assert person.exit_code() == Exit.INTERRUPTED
    assert shell.told("show", id_)[1]["status"] == "running"
    with shell.at_a_terminal("watch", id_) as person:
        person.reads("running")
        shell.model.release("the-end")
        person.reads("Done.")
        assert person.exit_code() == 0


@needs_a_terminal
def test_a_person_sees_what_is_asked_and_decides(shell: Shell) -> None:
    job = ("--cwd", str(shell.project), "--sandbox", "workspace-write")
    id_ = shell.told("submit", ASKING, *job)[1]["operationId"]
    assert shell.types("run", ASKING, *job)[0] == Exit.REFUSED  # without a key it is another task
    while not shell.told("pending", id_)[1]["interactions"]:
        pass  # Codex has not asked yet; each look takes a while
    with shell.at_a_terminal("answer", id_) as person:
        person.reads("printf 1 > deployed.txt")
        person.reads("Your decision")
        person.types("perhaps\n")
        person.reads("none of them")
        person.types("\n")
        person.reads("left unanswered")
        assert person.exit_code() == 0
    with shell.at_a_terminal("answer") as person:
        person.reads("Your decision")
        person.types("decline\n")
        person.reads("Codex has the answer")
        assert person.exit_code() == 0
    assert shell.types("watch", id_)[0] == 0
    assert not (shell.project / "deployed.txt").exists()

    wish = "Mend it.\nplan # Mend\\n\\n1. Oil the till."
    _, planned = shell.told("run", wish, "--plan", "--cwd", str(shell.project))
    for said, outcome in (("no", Exit.WANTS_SOMEBODY), ("yes", Exit.DONE)):
        with shell.at_a_terminal("approve", planned["workflowId"]) as person:
            person.reads("Oil the till.")
            person.reads("with the sandbox read-only")
            person.types(f"{said}\n")
            assert person.exit_code() == outcome


def test_the_doctor_asks_a_worker_that_runs_and_a_copy_can_be_looked_into(
    shell: Shell, folder: Path
) -> None:
    _, receipt = shell.told("submit", "Wait.\nhold the-end", "--cwd", str(shell.project))
    assert shell.types("backup", str(folder / "copy.sqlite3"))[0] == 0
    shown = shell.told("show", receipt["operationId"], "--state-db", str(folder / "copy.sqlite3"))
    assert shown[1]["message"] == "Wait.\nhold the-end"
    code, examined = shell.told("doctor")
    assert (code, examined["health"]["overallStatus"]) == (0, "healthy")
    assert "runs (pid" in next(
        one["found"] for one in examined["checks"] if one["name"] == "worker"
    )
    assert examined["analysis"]["recommendedRepairActions"] == []


def test_a_repair_is_a_dry_run_until_it_is_applied(shell: Shell) -> None:
    id_ = shell.told("submit", "Wait.\nhold the-end", "--cwd", str(shell.project))[1]["operationId"]
    assert shell.types("repair", "interrupt_turn", "--scope", "op_nothing")[0] == Exit.NOT_FOUND
    assert shell.types("repair", "interrupt_turn")[0] == Exit.USAGE
    assert shell.types("repair", "interrupt_turn", "--scope", id_)[0] == Exit.REFUSED
    forced = ("repair", "interrupt_turn", "--scope", id_[:-2], "--force")
    code, said = shell.types(*forced)
    assert (code, f"operation {id_}: " in said, "Nothing is changed yet" in said) == (0, True, True)
    assert f"repair interrupt_turn --scope {id_} --force --apply" in said
    assert shell.told("show", id_)[1]["completedAt"] is None

    code, done = shell.told(*forced, "--apply")
    assert (code, done["outcome"], done["changed"]) == (0, "applied", True)
    assert shell.types("watch", id_)[0] == Exit.STOPPED
    code, done = shell.told(*forced, "--apply")
    assert (code, done["outcome"]) == (0, "nothing_to_do")
