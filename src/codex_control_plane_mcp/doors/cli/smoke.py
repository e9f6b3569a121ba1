"""`smoke`: does an installation work? Asked as a client asks, over MCP, step after step.

`protocol` starts no Codex. The others run small tasks on it, read-only, which say in their prompts
that they are a test and that nothing may be changed.
"""

import json
import os
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio

from codex_control_plane_mcp import __version__, paths, settings
from codex_control_plane_mcp.doors.cli import client
from codex_control_plane_mcp.doors.cli.ending import end_worker, worker_runs
from codex_control_plane_mcp.doors.cli.init import SCRIPT, script_path
from codex_control_plane_mcp.doors.cli.scenarios import Scenario
from codex_control_plane_mcp.model.operation import FINAL, Status
from codex_control_plane_mcp.paths import STATE_DB_VARIABLE
from codex_control_plane_mcp.settings import Settings

if TYPE_CHECKING:
    from mcp.client import Client

MARK = "MCP LIVE TEST / DO NOT MODIFY FILES"
#: For one task of a real model; a scripted one needs a second.
TASK_SECONDS = 600.0
#: One call waits this long for news.
WAIT_SECONDS = 30
#: The index of the search is a second behind, on a busy machine more.
INDEX_SECONDS = 30.0
INDEX_PAUSE_SECONDS = 0.5

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Check:
    """One step, and what came of it."""

    name: str
    ok: bool
    seconds: float
    said: str


@dataclass(frozen=True, slots=True)
class Trial:
    """What is tried: the server that this command starts, in this environment."""

    settings: Settings
    environ: Mapping[str, str]
    command: Sequence[str]
    #: Where the tasks of the live scenarios work.
    cwd: Path | None = None
    #: Also restart the worker and Codex's app-server, without force.
    restart: bool = False


class Failed(Exception):
    """A step did not find what it has to find."""


@dataclass(slots=True)
class Round:
    """One round of steps over one session; what a step found, later ones go on with."""

    trial: Trial
    client: "Client"
    #: Tells this round's tasks from those of others.
    mark: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    tools: frozenset[str] = frozenset()
    task: Json = field(default_factory=dict)

    async def call(self, tool: str, **arguments: object) -> Json:
        """What the tool says. Raises Failed with its error."""
        told = await self._answer(tool, arguments)
        if not told.get("ok"):
            error = told.get("error", {})
            raise Failed(f"{tool}: {error.get('code')}: {error.get('message')}")
        return told

    async def refusal(self, tool: str, **arguments: object) -> Json:
        """The error that the tool has to answer with."""
        told = await self._answer(tool, arguments)
        if told.get("ok") is not False:
            raise Failed(f"{tool} was not refused")
        return dict(told["error"])

    async def start(self, message: str, **arguments: object) -> Json:
        """The receipt of a task that may only read."""
        wanted = {"operation_type": "start_chat", **self.place, "sandbox": "read-only"}
        return await self.call(
            "codex_submit_task", **wanted, message=f"{MARK}\n\n{message}", **arguments
        )

    async def end_of(self, operation_id: str) -> Json:
        """The status once it is final; what Codex asks for meanwhile is declined."""
        with anyio.fail_after(TASK_SECONDS):
            while True:
                status = await self.call(
                    "codex_get_operation_status",
                    operation_id=operation_id,
                    wait_seconds=WAIT_SECONDS,
                )
                if status["status"] in FINAL:
                    return status
                for asked in status["pendingInteractions"]:
                    await self.refuse(asked)

    async def report_of(self, operation_id: str) -> str:
        ended = await self.end_of(operation_id)
        if ended["status"] != Status.COMPLETED:
            trouble = ended.get("lastError") or {}
            raise Failed(f"the task ended as {ended['status']}: {trouble.get('message')}")
        return str(ended["finalReport"]["text"])

    async def refuse(self, asked: Json) -> None:
        answer: Json = {"decision": "decline"}
        if asked["kind"] == "user_input":
            answer = {"answers": {one["id"]: "as you like" for one in asked["questions"]}}
        await self.call(
            "codex_answer_pending_interaction", interaction_id=asked["interactionId"], **answer
        )

    @property
    def place(self) -> Json:
        return {"cwd": str(self.trial.cwd)}

    async def _answer(self, tool: str, arguments: Json) -> Json:
        answer = await self.client.call_tool(tool, arguments)
        told = answer.structured_content
        if not isinstance(told, dict):
            raise Failed(f"{tool} answered without structured content")
        return told


Step = Callable[[Round], Awaitable[str]]


# --- The steps -----------------------------------------------------------------------------------


async def _greeting(now: Round) -> str:
    info = now.client.server_info
    if info is None or info.name != SCRIPT:
        raise Failed(f"the server calls itself {info.name if info else 'nothing'}")
    return f"{info.name} {info.version}, protocol {now.client.protocol_version}"


async def _listing(now: Round) -> str:
    tools = (await now.client.list_tools()).tools
    bare = [tool.name for tool in tools if not tool.output_schema]
    if not tools or bare:
        raise Failed(f"tools without an output schema: {', '.join(bare) or 'there is no tool'}")
    now.tools = frozenset(tool.name for tool in tools)
    return f"{len(tools)} tools, each with its output schema"


async def _refusing(now: Round) -> str:
    error = await now.refusal("codex_no_such_tool")
    if error["code"] != "INVALID_ARGUMENT":
        raise Failed(f"an unknown tool is refused with {error['code']}: {error['message']}")
    return f"an unknown tool is refused: {error['code']}"


async def _health(now: Round) -> str:
    """That it can be told. Without a Codex it is `broken`, and the protocol is as it should be."""
    health = await now.call("codex_health_summary")
    return f"{SCRIPT} {health['serverVersion']} is {health['overallStatus']}"


async def _preflight(now: Round) -> str:
    told = await now.call("codex_preflight_project_run", **now.place, sandbox="read-only")
    wrong = [one for one in told["checks"] if one["status"] == "failed"]
    if wrong:
        said = [f"{one['name']}: {one['message']} {one.get('advice', '')}" for one in wrong]
        raise Failed("; ".join(one.strip() for one in said))
    return f"{now.trial.cwd} is {told['status']}"


async def _task(now: Round) -> str:
    began = time.monotonic()
    key = f"smoke-{now.mark}"
    message = f"Use no tool and change nothing. Answer with one short sentence. ({key})"
    now.task = await now.start(message, client_request_id=key)
    acknowledged = (time.monotonic() - began) * 1000
    again = await now.start(message, client_request_id=key)
    if (again["operationId"], again["idempotent"]) != (now.task["operationId"], True):
        raise Failed("the same call again began another task")
    report = await now.report_of(now.task["operationId"])
    if not report.strip():
        raise Failed("it completed without a report")
    now.task = await now.end_of(now.task["operationId"])
    return f"acknowledged in {acknowledged:.0f} ms, once, and completed: {_short(report)}"


async def _next_message(now: Round) -> str:
    sent = await now.call(
        "codex_submit_task",
        operation_type="send_message",
        thread_id=now.task["threadId"],
        message=f"{MARK}\n\nAnswer with one more short sentence. ({now.mark} again)",
    )
    return f"in the same thread: {_short(await now.report_of(sent['operationId']))}"


async def _plan(now: Round) -> str:
    """A plan is made, approved by its hash, and carried out."""
    begun = await now.call(
        "codex_start_plan_workflow",
        **now.place,
        sandbox="read-only",
        message=f"{MARK}\n\nPlan how to say what lies in this folder, in two short steps that only"
        f" read. ({now.mark} plan)",
    )
    workflow = str(begun["workflowId"])
    ended = await now.end_of(begun["planOperationId"])
    found = await now.call("codex_get_workflow_status", workflow_id=workflow)
    if found["phase"] == "plan_needs_review":
        return "Codex answered without a plan, and that is said; nothing was approved"
    if found["phase"] != "plan_ready":
        raise Failed(f"planning ended as {ended['status']}, the workflow is {found['phase']}")
    approved = await now.call(
        "codex_approve_plan",
        workflow_id=workflow,
        plan_hash=found["latestPlan"]["planHash"],
        message=f"{MARK}\n\nCarry the plan out; it only reads. ({now.mark} carried out)",
    )
    report = await now.report_of(approved["executionOperationId"])
    await _put_away(now, found["threadId"])
    return f"made, approved by its hash, and carried out: {_short(report)}"


async def _interrupt(now: Round) -> str:
    begun = await now.start(
        f"Use no tool. Write the numbers from 1 to 400 as words, one on each line. ({now.mark} end)"
    )
    await now.call("codex_interrupt_turn", operation_id=begun["operationId"])
    ended = await now.end_of(begun["operationId"])
    if ended["status"] not in (Status.INTERRUPTED, Status.CANCELLED, Status.COMPLETED):
        raise Failed(f"it ended as {ended['status']}")
    if ended["status"] == Status.INTERRUPTED:
        await _put_away(now, ended["threadId"])
    return f"ended as {ended['status']}"


async def _search(now: Round) -> str:
    with anyio.move_on_after(INDEX_SECONDS):
        while True:
            told = await now.call("codex_search_chats", query=f"smoke-{now.mark}")
            if told["results"]:
                return "the task is found by its words"
            # Nothing tells a client when the index has caught up.
            await anyio.sleep(INDEX_PAUSE_SECONDS)
    raise Failed("the search did not find the task by its words")


async def _archive(now: Round) -> str:
    await _put_away(now, now.task["threadId"])
    return f"thread {now.task['threadId']} is archived"


async def _restart(now: Round) -> str:
    """The worker leaves, and Codex's app-server; this session and the task are still there."""
    restarted = ""
    if "codex_restart_app_server" in now.tools:
        await now.call("codex_restart_app_server")
        restarted = " and app-server"
    ended = await end_worker(now.trial.settings)
    if not ended.is_gone:
        raise Failed("the worker did not leave")
    # The pipe starts the next worker.
    await now.call("codex_health_summary")
    if now.task:
        await now.report_of(now.task["operationId"])
    return f"worker{restarted} restarted; the session goes on"


async def _put_away(now: Round, thread_id: str) -> None:
    if "codex_archive_thread" in now.tools:
        await now.call("codex_archive_thread", thread_id=thread_id)


_PROTOCOL: Final[Mapping[str, Step]] = {
    "initialize": _greeting,
    "tools": _listing,
    "errors": _refusing,
    "health": _health,
}
_SAFE_OPERATION: Final[Mapping[str, Step]] = {
    **_PROTOCOL,
    "preflight": _preflight,
    "task": _task,
}
_FULL: Final[Mapping[str, Step]] = {
    **_SAFE_OPERATION,
    "next message": _next_message,
    "plan": _plan,
    "interrupt": _interrupt,
    "search": _search,
}


def _steps(trial: Trial, scenario: Scenario) -> Mapping[str, Step]:
    last: dict[str, Step] = {"restart": _restart} if trial.restart else {}
    match scenario:
        case Scenario.PROTOCOL:
            return {**_PROTOCOL, **last}
        case Scenario.SAFE_OPERATION:
            return {**_SAFE_OPERATION, **last, "archive": _archive}
        case Scenario.FULL:
            return {**_FULL, **last, "archive": _archive}


# --- A round -------------------------------------------------------------------------------------


async def perform(
    trial: Trial, scenario: Scenario, tell: Callable[[Check], None] = lambda _: None
) -> list[Check]:
    """Every step up to the first that fails. A worker that was not there before is ended."""
    checks: list[Check] = []

    def note(check: Check) -> None:
        checks.append(check)
        tell(check)

    began = time.monotonic()
    was_there = worker_runs(trial.settings)
    try:
        async with client.session(trial.command, trial.environ) as session:
            now = Round(trial, session)
            for name, step in _steps(trial, scenario).items():
                note(await _tried(name, step, now))
                if not checks[-1].ok:
                    break
    except* _no_session() as group:
        said = _words_of(group)
        note(Check("connect", ok=False, seconds=time.monotonic() - began, said=said))
    finally:
        if not was_there:
            with anyio.CancelScope(shield=True):
                await end_worker(trial.settings)
    return checks


async def _tried(name: str, step: Step, now: Round) -> Check:
    began = time.monotonic()
    try:
        said, ok = await step(now), True
    except (Failed, TimeoutError, KeyError) as error:
        said, ok = _reason(error), False
    return Check(name, ok, time.monotonic() - began, said)


def _reason(error: Exception) -> str:
    match error:
        case KeyError():
            return f"the answer does not hold {error}"
        case TimeoutError():
            return "it took too long"
        case _:
            return str(error)


def _no_session() -> tuple[type[Exception], ...]:
    from mcp import MCPError

    return (MCPError, OSError, TimeoutError, RuntimeError)


def _words_of(group: BaseExceptionGroup[BaseException]) -> str:
    first = group.exceptions[0]
    if isinstance(first, BaseExceptionGroup):
        return _words_of(first)
    return str(first) or type(first).__name__


def _short(text: str) -> str:
    """The first line, as far as a terminal shows it well."""
    line = text.strip().partition("\n")[0]
    return line if len(line) <= 60 else line[:59] + "…"


# --- The command ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    scenario: Scenario = Scenario.PROTOCOL
    cwd: str | None = None
    restart: bool = False
    state_db: str | None = None


def run(asked: Asked, *, as_json: bool) -> int:
    """The exit code."""
    chosen = settings.load(os.environ)
    if asked.state_db is not None:
        chosen = replace(chosen, state_db=Path(paths.canonical(asked.state_db)))
    trial = Trial(
        settings=chosen,
        environ={**os.environ, STATE_DB_VARIABLE: str(chosen.state_db)},
        command=[script_path()],
        cwd=_cwd(asked, chosen),
        restart=asked.restart,
    )
    checks = anyio.run(perform, trial, asked.scenario, (lambda _: None) if as_json else _show)
    ok = all(check.ok for check in checks)
    if as_json:
        sys.stdout.write(json.dumps(_as_json(asked.scenario, trial, checks)) + "\n")
    return 0 if ok else 1


def _cwd(asked: Asked, chosen: Settings) -> Path | None:
    """Where the tasks work: what was named, else the first folder that tasks may work in."""
    if asked.cwd is not None:
        return Path(paths.canonical(asked.cwd))
    return next((root for root in chosen.roots if root.is_dir()), Path.cwd())


def _show(check: Check) -> None:
    mark = "ok    " if check.ok else "FAILED"
    sys.stdout.write(f"{mark}  {check.name:<13} {check.seconds:6.2f} s  {check.said}\n")
    sys.stdout.flush()


def _as_json(scenario: Scenario, trial: Trial, checks: Sequence[Check]) -> Json:
    return {
        "ok": all(check.ok for check in checks),
        "scenario": scenario,
        "version": __version__,
        "stateDb": str(trial.settings.state_db),
        "cwd": None if scenario is Scenario.PROTOCOL else str(trial.cwd),
        "checks": [
            {"name": one.name, "ok": one.ok, "seconds": round(one.seconds, 3), "said": one.said}
            for one in checks
        ],
    }
