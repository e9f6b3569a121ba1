"""Would a task run? Asked before it is sent; what would stop it is named, with what to do.

Every check is a fact that was looked at. What cannot be told without running a turn is `unknown`,
and a live probe runs one: a tiny task like any other, which goes through the queue and may not
write.
"""

import hashlib
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.codex.inventory import Inventory, Wanted
from codex_control_plane_mcp.desk.capabilities import SANDBOX_ADVICE
from codex_control_plane_mcp.desk.projects import Place
from codex_control_plane_mcp.desk.runtime import CodexState, CodexWord
from codex_control_plane_mcp.desk.status import Look
from codex_control_plane_mcp.desk.submit import Task
from codex_control_plane_mcp.desk.texts import start_of
from codex_control_plane_mcp.desk.views import OperationView
from codex_control_plane_mcp.desk.views_inventory import Check, LiveProbe, PreflightView
from codex_control_plane_mcp.desk.wait import WAITS_FOR_PEOPLE, until
from codex_control_plane_mcp.errors import ControlPlaneError
from codex_control_plane_mcp.model.ids import OperationId, ProjectId
from codex_control_plane_mcp.model.operation import FINAL, Status
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox
from codex_control_plane_mcp.model.request import DedupPolicy, OperationType
from codex_control_plane_mcp.model.schedule import Job, Limits, obstacle
from codex_control_plane_mcp.settings import Settings
from codex_control_plane_mcp.store.book import Book

#: A cold start of Codex takes two seconds; a machine under load, several.
ASK_SECONDS = 15.0
#: Clients give a call up after a minute, and the questions before the probe take their time too.
PROBE_SECONDS = 30.0
#: Asked for again within this time, it is the same probe: the answer may have been lost.
PROBE_AGE_MS = 60_000
PROBE = """\
MCP LIVE TEST / DO NOT MODIFY FILES

This only tests that a turn runs. Use no tool, run no command, change nothing. Answer: OK"""
MAX_ANSWER_CHARS = 200

ASKED = Wanted(hooks=False, skills=False)

#: Codex's own permission profiles, by the sandbox that they stand for.
_PROFILES = {
    Sandbox.READ_ONLY: ":read-only",
    Sandbox.WORKSPACE_WRITE: ":workspace",
    Sandbox.DANGER_FULL_ACCESS: ":danger-full-access",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """The task that somebody is about to send, as far as it matters here."""

    project: str | None = None
    cwd: str | None = None
    model: str | None = None
    sandbox: Sandbox | None = None
    approval_policy: ApprovalPolicy | None = None
    live_probe: bool = False


@dataclass(frozen=True, slots=True)
class Course:
    """What it would run with: what the caller left open is decided as for a task."""

    model: str | None
    sandbox: Sandbox
    approval_policy: ApprovalPolicy


def course(planned: Planned, settings: Settings) -> Course:
    return Course(
        planned.model or settings.default_model,
        planned.sandbox or Sandbox(settings.default_sandbox),
        planned.approval_policy or ApprovalPolicy(settings.default_approval_policy),
    )


@dataclass(frozen=True, slots=True)
class OnDisk:
    """What a look at the folder says."""

    writable: bool
    has_git: bool


def on_disk(folder: str) -> OnDisk:
    path = Path(folder)
    has_git = any((one / ".git").exists() for one in (path, *path.parents))
    return OnDisk(os.access(path, os.W_OK | os.X_OK), has_git)


# --- The checks ----------------------------------------------------------------------------------


def folder_checks(
    place: Place | ControlPlaneError, disk: OnDisk | None, sandbox: Sandbox
) -> Iterator[Check]:
    if isinstance(place, ControlPlaneError) or disk is None:
        yield Check("folder", "failed", str(place), "codex_list_projects shows where tasks can go")
        return
    yield Check("folder", "ok", f"{place.cwd} exists and is allowed")
    if sandbox is Sandbox.READ_ONLY:
        yield Check("writable", "ok", "the read-only sandbox writes nothing")
    elif disk.writable:
        yield Check("writable", "ok", "the folder can be written")
    else:
        yield Check(
            "writable",
            "failed",
            "the folder cannot be written by this user",
            "change its permissions, or use sandbox read-only",
        )
    if disk.has_git or sandbox is Sandbox.READ_ONLY:
        yield Check("git", "ok", "within a git work tree" if disk.has_git else "no git; not needed")
    else:
        yield Check("git", "warning", "no git work tree: changes cannot be taken back", "git init")


def codex_checks(codex: CodexState, word: CodexWord, wanted: Course) -> Iterator[Check]:
    if codex.problem is not None:
        yield Check("codex", "failed", codex.problem)
    else:
        yield Check("codex", "ok", f"Codex {word.version or codex.version or ''} is installed")
    if word.inventory is None:
        yield Check("app_server", "failed", word.problem or "Codex does not answer", "try again")
    else:
        yield Check("app_server", "ok", "the app-server answers")
    inventory = word.inventory or Inventory()
    yield _login(inventory)
    yield _model(inventory, wanted.model)
    yield _sandbox(inventory, wanted.sandbox)
    yield _approval(inventory, wanted.approval_policy)


def _login(inventory: Inventory) -> Check:
    account = inventory.account
    if account is None:
        return Check("login", "unknown", "Codex did not say whether somebody is logged in")
    if account.kind is not None:
        return Check("login", "ok", f"logged in ({account.kind})")
    if not account.requires_openai_auth:
        return Check("login", "ok", "the model provider needs no OpenAI login")
    return Check("login", "failed", "nobody is logged in to Codex", "run `codex login`")


def _model(inventory: Inventory, wanted: str | None) -> Check:
    models = inventory.models
    if models is None:
        return Check("model", "unknown", "Codex did not list its models")
    if wanted is None:
        default = next((one.model for one in models if one.is_default), None)
        return Check("model", "ok", f"Codex decides{f': {default}' if default else ''}")
    if wanted in {name for one in models for name in (one.id, one.model)}:
        return Check("model", "ok", f"Codex lists {wanted}")
    listed = ", ".join(one.model for one in models if not one.hidden)
    return Check(
        "model",
        "warning",  # a provider may have models that Codex does not list
        f"Codex does not list {wanted}",
        f"use one that it lists: {start_of(listed, 400)[0] or 'there is none'}",
    )


def _sandbox(inventory: Inventory, wanted: Sandbox) -> Check:
    requirements, profiles = inventory.requirements, inventory.permission_profiles
    if requirements is None and profiles is None:
        return Check("sandbox", "unknown", "Codex did not say which sandboxes are allowed")
    modes = requirements.sandbox_modes if requirements else None
    barred = {one.id for one in profiles or () if not one.allowed}
    if (modes is not None and wanted not in modes) or _PROFILES[wanted] in barred:
        allowed = [one.value for one in Sandbox if one in (modes or Sandbox)]
        return Check(
            "sandbox",
            "failed",
            f"{wanted} is not allowed on this machine",
            f"use one of: {', '.join(one for one in allowed if one != wanted)}",
        )
    needs_setup = wanted is not Sandbox.DANGER_FULL_ACCESS
    if needs_setup and inventory.sandbox_readiness == "unavailable":
        return Check(
            "sandbox",
            "failed",
            f"Codex cannot run commands in its sandbox: {inventory.sandbox_problem}",
            SANDBOX_ADVICE,
        )
    if needs_setup and inventory.sandbox_readiness in ("notConfigured", "updateRequired"):
        return Check(
            "sandbox",
            "failed",
            f"the Windows sandbox is not ready ({inventory.sandbox_readiness})",
            "start `codex` once and let it set its sandbox up",
        )
    return Check("sandbox", "ok", f"{wanted} is allowed")


def _approval(inventory: Inventory, wanted: ApprovalPolicy) -> Check:
    if inventory.requirements is None:
        return Check("approval_policy", "unknown", "Codex did not say which policies are allowed")
    policies = inventory.requirements.approval_policies
    if policies is None or wanted in policies:
        return Check("approval_policy", "ok", f"{wanted} is allowed")
    return Check(
        "approval_policy",
        "failed",
        f"{wanted} is not allowed on this machine",
        f"use one of: {', '.join(policies)}",
    )


def queue_check(
    active: Sequence[Job], limits: Limits, place: Place | None, sandbox: Sandbox, now: Moment
) -> Check:
    project_id = ProjectId("") if place is None else place.project_id
    planned = Job(id=OperationId(""), project_id=project_id, sandbox=sandbox, due_at=now)
    reason = obstacle(planned, active, limits)
    if reason is not None:
        return Check("queue", "warning", f"{reason}: the task would wait for its turn")
    return Check("queue", "ok", f"{len(active)} of {limits.everywhere} turns run")


# --- The live probe ------------------------------------------------------------------------------


async def probe(
    book: Book,
    submit: Callable[[Task], Awaitable[OperationView]],
    status: Callable[[Look], Awaitable[OperationView]],
    place: Place,
    model: str | None,
    now: Moment,
) -> LiveProbe:
    """Run a tiny turn, or look at the one that was run a moment ago."""
    about = f"{place.cwd}\n{model or ''}\n{now // PROBE_AGE_MS}"
    task = Task(
        operation_type=OperationType.START_CHAT,
        message=PROBE,
        client_request_id=f"live-probe-{hashlib.sha256(about.encode()).hexdigest()[:32]}",
        cwd=place.cwd,
        title="MCP live test",
        ephemeral=True,
        model=model,
        sandbox=Sandbox.READ_ONLY,
        approval_policy=ApprovalPolicy.NEVER,
        dedup_policy=DedupPolicy.IDEMPOTENCY_ONLY,
    )
    id_ = OperationId((await submit(task)).operation_id)
    await until(
        book, [id_], PROBE_SECONDS, lambda all_: all_[id_].status in FINAL | WAITS_FOR_PEOPLE
    )
    shown = await status(Look(operation_id=id_))
    report, error = shown.final_report, shown.last_error
    return LiveProbe(
        operation_id=id_,
        status=shown.status,
        thread_id=shown.thread_id,
        answer=None if report is None else start_of(report.text, MAX_ANSWER_CHARS)[0],
        error=None if error is None else error.message,
    )


def probe_check(probed: LiveProbe) -> Check:
    match probed.status:
        case Status.COMPLETED:
            return Check("live_probe", "ok", "a turn ran to its end")
        case status if status in FINAL:
            return Check("live_probe", "failed", probed.error or f"the turn ended as {status}")
        case status:
            return Check(
                "live_probe",
                "unknown",
                f"the turn has not ended yet ({status})",
                "codex_get_operation_status with liveProbe.operationId",
            )


# --- The result ----------------------------------------------------------------------------------


def verdict(
    place: Place | None, wanted: Course, checks: Sequence[Check], probed: LiveProbe | None
) -> PreflightView:
    statuses = {one.status for one in checks}
    if "failed" in statuses:
        status, action = "not_ready", "mend_failed_checks"
    elif statuses == {"ok"}:
        status, action = "ready", "submit_task"
    else:
        status, action = "ready_with_warnings", "read_checks_then_submit_task"
    return PreflightView(
        status=status,
        project_id=None if place is None else place.project_id,
        cwd=None if place is None else place.cwd,
        model=wanted.model,
        sandbox=wanted.sandbox,
        approval_policy=wanted.approval_policy,
        checks=tuple(checks),
        live_probe=probed,
        next_recommended_action=action,
    )
