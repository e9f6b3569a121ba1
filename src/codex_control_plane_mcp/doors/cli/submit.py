"""`submit` hands a task in; `run` also follows it to its end, as a job of a pipeline does.

With a key, the same call again goes on with the same task: a job that is run once more never has
the work done twice.
"""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import anyio
from rich.text import Text

from codex_control_plane_mcp.desk.lookup import Found, Thing
from codex_control_plane_mcp.doors.cli.client import Server, connected
from codex_control_plane_mcp.doors.cli.exits import MEANINGS, Exit
from codex_control_plane_mcp.doors.cli.following import Follower, follow
from codex_control_plane_mcp.doors.cli.room import chosen_settings, room_of
from codex_control_plane_mcp.doors.cli.show import told, view_of
from codex_control_plane_mcp.doors.cli.speaking import PROGRAM, carried_out, print_json
from codex_control_plane_mcp.doors.cli.telling import Narrator, Quiet, Screen
from codex_control_plane_mcp.doors.cli.terminal import page_on
from codex_control_plane_mcp.doors.cli.words import plain, state_name
from codex_control_plane_mcp.errors import InvalidArgument
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox
from codex_control_plane_mcp.model.request import Priority


@dataclass(frozen=True, slots=True)
class Task:
    """What the person wants done, and where."""

    message: str
    key: str | None = None
    cwd: str | None = None
    project: str | None = None
    thread: str | None = None
    title: str | None = None
    model: str | None = None
    sandbox: Sandbox | None = None
    approval_policy: ApprovalPolicy | None = None
    agent: str | None = None
    priority: Priority | None = None
    output_schema: Path | None = None
    worktree: bool = False
    plan: bool = False


@dataclass(frozen=True, slots=True)
class Waiting:
    """How long, and whether to be told what happens meanwhile."""

    timeout: float | None = None
    quiet: bool = False


def submit(task: Task, state_db: str | None, *, as_json: bool) -> int:
    async def work() -> Exit:
        chosen = chosen_settings(state_db)
        wanted = _checked(task)
        async with connected(os.environ, chosen.state_db) as server:
            receipt = await _hand_in(server, wanted)
        if as_json:
            print_json(receipt)
        else:
            _show(receipt)
        return Exit.DONE

    return carried_out(work, as_json=as_json)


def run(task: Task, waiting: Waiting, state_db: str | None, *, as_json: bool) -> int:
    async def work() -> Exit:
        chosen = chosen_settings(state_db)
        wanted = _checked(task)
        narrator = _narrator(silent=as_json or waiting.quiet)
        async with connected(os.environ, chosen.state_db) as server:
            receipt = await _hand_in(server, wanted)
            found = _found(receipt)
            again = receipt.get("idempotent") is True
            with room_of(chosen) as room:
                exit_code = Exit.TIMEOUT
                with narrator, anyio.move_on_after(waiting.timeout):
                    narrator.submitted(found.id, again=again)
                    follower = Follower(room, server, found, until_asked=True)
                    exit_code = await follow(follower, narrator)
                    narrator.ended(exit_code, await view_of(room, found))
                document = await told(room, found)
        if as_json:
            more = {"exitCode": int(exit_code), "outcome": exit_code.name.lower()}
            print_json({**document, "ok": exit_code is Exit.DONE, "idempotent": again, **more})
        else:
            _report(document, exit_code, found)
        return exit_code

    return carried_out(work, as_json=as_json, interrupted="Waiting has ended; the task goes on.")


def _narrator(*, silent: bool) -> Narrator:
    return Quiet() if silent else Screen(page_on(sys.stderr), reports=False)


def _checked(task: Task) -> dict[str, object]:
    """The arguments of the tool that takes the task. What they mean is the desk's to judge."""
    message = sys.stdin.read() if task.message == "-" else task.message
    here = task.cwd
    if here is None and task.project is None and task.thread is None:
        here = str(Path.cwd())
    common: dict[str, object] = {
        "message": message,
        "client_request_id": task.key,
        "project_id": task.project,
        "cwd": None if here is None else str(Path(here).absolute()),
        "title": task.title,
        "model": task.model,
        "sandbox": task.sandbox,
        "approval_policy": task.approval_policy,
    }
    if task.plan:
        _refuse_with_plan(task)
        return common
    schema = None if task.output_schema is None else _schema(task.output_schema)
    return {
        **common,
        "operation_type": "start_chat" if task.thread is None else "send_message",
        "thread_id": task.thread,
        "agent_id": task.agent,
        "priority": task.priority,
        "output_schema": schema,
        "worktree": task.worktree or None,
    }


def _refuse_with_plan(task: Task) -> None:
    given = {
        "--thread": task.thread,
        "--agent": task.agent,
        "--priority": task.priority,
        "--output-schema": task.output_schema,
        "--worktree": task.worktree or None,
    }
    if odd := [name for name, value in given.items() if value is not None]:
        raise InvalidArgument(f"{odd[0]} does not go with --plan: leave it out")


def _schema(path: Path) -> dict[str, object]:
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"--output-schema: {path} is no JSON file: {error}") from error
    if not isinstance(schema, dict):
        raise InvalidArgument(f"--output-schema: {path} must hold a JSON object")
    return schema


async def _hand_in(server: Server, wanted: dict[str, object]) -> dict[str, object]:
    starts_plan = "operation_type" not in wanted
    tool = "codex_start_plan_workflow" if starts_plan else "codex_submit_task"
    return await server.call(tool, **wanted)


def _found(receipt: dict[str, object]) -> Found:
    if "operationType" in receipt:
        return Found(Thing.OPERATION, str(receipt["operationId"]))
    return Found(Thing.WORKFLOW, str(receipt["workflowId"]))


def _show(receipt: dict[str, object]) -> None:
    found = _found(receipt)
    again = "goes on" if receipt.get("idempotent") is True else "handed in"
    console = page_on(sys.stdout)
    state = str(receipt.get("status") or receipt.get("phase"))
    console.print(Text.assemble((found.id, "bold"), f"  {again}: {state_name(state)}"))
    if console.is_terminal:
        console.print(Text(f"follow it with  {PROGRAM} watch {found.id}", "dim"))


def _report(document: dict[str, object], exit_code: Exit, found: Found) -> None:
    """The report to standard output, and whatever else is to be said to standard error."""
    report = document.get("finalReport")
    if isinstance(report, dict):
        sys.stdout.write(plain(str(report["text"])).rstrip("\n") + "\n")
        sys.stdout.flush()
    if exit_code is not Exit.DONE:
        said = MEANINGS[exit_code]
        sys.stderr.write(f"{PROGRAM}: {said} ({PROGRAM} show {found.id})\n")
