"""How each repair is planned: what would change, what it costs, why it must not be done, and the
act itself. Planning looks only; the act does what was planned and nothing else.
"""

import os
import stat
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol, TypeAlias, get_args

import anyio

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.codex.errors import CodexError
from codex_control_plane_mcp.codex.supervisor import Status as AppServerStatus
from codex_control_plane_mcp.errors import AppServerUnavailable, WorkflowNotFound
from codex_control_plane_mcp.model.ids import AppServerId, OperationId, WorkflowId, new_operation_id
from codex_control_plane_mcp.model.interaction import Interaction, InteractionStatus
from codex_control_plane_mcp.model.operation import (
    ACTIVE,
    WITH_TURN,
    Lost,
    Operation,
    Status,
    Trouble,
)
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox, is_within
from codex_control_plane_mcp.model.repair import NEED_FORCE, Action, Change, RepairRun, RepairScope
from codex_control_plane_mcp.model.request import (
    DedupPolicy,
    ExecutePlan,
    ForkThread,
    Review,
    SendMessage,
    StartChat,
    Submission,
    TaskRequest,
    options_of,
)
from codex_control_plane_mcp.model.workflow import ENDED, Phase, Workflow, stand
from codex_control_plane_mcp.settings import SandboxMode, Settings
from codex_control_plane_mcp.store import (
    interactions,
    lookup,
    operations,
    queue,
    repeats,
    wishes,
    workflows,
)
from codex_control_plane_mcp.store.book import Book, Reading, Writing
from codex_control_plane_mcp.store.operations import Fenced
from codex_control_plane_mcp.work.case import Case, close
from codex_control_plane_mcp.work.evidence import read_turn
from codex_control_plane_mcp.work.hook_history import HookHistory
from codex_control_plane_mcp.work.workshop import Workshop

#: An idle app-server needs a fraction of a second to end.
DRAIN_SECONDS: Final = 20.0
#: Who insists waits only so long for turns to end by themselves.
FORCE_SECONDS: Final = 3.0
#: An app-server that hangs is not asked for long how busy it is.
ASK_SECONDS: Final = 2.0
#: A turn that is told to end does so within a second or two.
END_SECONDS: Final = 10.0
#: Whoever lost an answer has asked again long before.
REPEATS_KEPT_MS: Final = 24 * 3600 * 1000
#: Questions looked at in one go.
QUESTIONS: Final = 500


class AppServers(Protocol):
    """What of the supervisor is needed here."""

    def status(self) -> AppServerStatus: ...

    async def drain(self, patience_seconds: float) -> bool: ...

    async def end_by_force(self, patience_seconds: float) -> bool: ...


@dataclass(frozen=True, slots=True)
class Means:
    """What there is to mend with, in the house that is open."""

    book: Book
    workshop: Workshop
    settings: Settings
    app_servers: AppServers
    hooks: HookHistory
    is_gone: Callable[[AppServerId], bool]
    #: Makes the search's index anew; gives the number of its texts.
    rebuild_index: Callable[[], Awaitable[int]]
    #: Has Codex be asked anew what it offers.
    forget_catalogue: Callable[[], int]


Act: TypeAlias = Callable[[], Awaitable[str]]


async def _nothing() -> str:
    return "nothing had to be changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a repair would do."""

    changes: tuple[Change, ...] = ()
    #: Does it, and says what came of it.
    act: Act = _nothing
    #: What it costs, or what else there is to know.
    note: str | None = None
    #: Why it must not be done now.
    refusal: str | None = None


Planner: TypeAlias = Callable[[Means, RepairRun], Awaitable[Plan]]


async def plan(means: Means, run: RepairRun) -> Plan:
    """What a repair would do now. Raises ControlPlaneError, CodexError."""
    planned = await _PLANNERS[run.action](means, run)
    if planned.refusal is None and planned.changes and run.action in NEED_FORCE and not run.force:
        why = f"this costs work that is being done, so it needs force: true. {planned.note or ''}"
        return replace(planned, refusal=why.strip())
    return planned


# --- Operations ----------------------------------------------------------------------------------


async def _recover(means: Means, run: RepairRun) -> Plan:
    left = [
        one
        for one in await _unfinished(means, run.scope)
        if one.status in ACTIVE and not means.workshop.drives(one.id)
    ]
    generation = means.workshop.generation

    async def act() -> str:
        taken = await means.workshop.recover()
        return f"{len(taken)} operations were taken up"

    return Plan(
        changes=tuple(
            Change(
                "operation", one.id, f"taken up by worker {generation}, left by {one.generation}"
            )
            for one in left
        ),
        act=act,
    )


async def _mark_orphaned(means: Means, run: RepairRun) -> Plan:
    unfinished = [one for one in await _unfinished(means, run.scope) if one.status in ACTIVE]
    orphans = [
        one
        for one in unfinished
        if one.status is not Status.STARTING_THREAD
        and one.app_server_id is not None
        and means.is_gone(one.app_server_id)
    ]
    refusal = None
    if run.scope != RepairScope() and unfinished and not orphans:
        refusal = "its app-server has not ended, as far as can be proven: nothing is orphaned"
    elif orphans and means.workshop.line.present is not None and not run.force:
        refusal = "an app-server is at hand, and the worker asks it what became of the turn: wait"

    async def act() -> str:
        marked = [one.id for one in orphans if await _lose(means, one.id)]
        return f"{len(marked)} of {len(orphans)} were still unfinished, and are unknown now"

    return Plan(
        changes=tuple(
            Change("operation", one.id, f"{one.status} → {Status.UNKNOWN}") for one in orphans
        ),
        act=act,
        note="unknown is final: what the turn did is looked up in the folder and the chat",
        refusal=refusal,
    )


async def _lose(means: Means, operation_id: OperationId) -> bool:
    """Say that nobody knows how it ended, unless it has ended; whoever drives it is fenced off."""
    why = Trouble(AppServerUnavailable.code, "its app-server ended, and nobody could be asked")
    while True:
        operation = await means.book.read(lambda reading: lookup.get(reading, operation_id))
        if operation is None or operation.is_final:
            return False
        try:
            await Case(operation, means.book).end(Lost(why))
        except Fenced:
            continue  # Its driver has just written something down.
        means.workshop.let_go(operation_id)
        return True


async def _interrupt(means: Means, run: RepairRun) -> Plan:
    unfinished = await _unfinished(means, run.scope)

    async def act() -> str:
        def wish(writing: Writing) -> None:
            for one in operations.held(writing, [one.id for one in unfinished]):
                if not one.is_final:
                    wishes.wish_cancel(writing, one.id, run.made_by)

        await means.book.write(wish)
        ended = await _ends(means, [one.id for one in unfinished])
        return f"{ended} of {len(unfinished)} have ended"

    return Plan(
        changes=tuple(Change("operation", one.id, f"{one.status} → ended") for one in unfinished),
        act=act,
        note="what the turn has done stays; what it was about to do is not done",
    )


# --- Workflows -----------------------------------------------------------------------------------


async def _reconcile(means: Means, run: RepairRun) -> Plan:
    """Where Codex has a turn as ended and the book has it as running, its record is read."""
    running = [one for one in await _unfinished(means, run.scope) if one.status in WITH_TURN]
    session = means.workshop.line.present
    if running and session is None:
        return Plan(refusal="Codex does not run now, so its thread cannot be read")
    changes: list[Change] = []
    differing: list[OperationId] = []
    for one in running:
        if session is None or one.thread_id is None or one.turn_id is None:
            continue
        turn = await read_turn(session, one.thread_id, one.turn_id)
        if turn is not None and turn.status != "inProgress":
            changes.append(Change("operation", one.id, f"{one.status} → {turn.status}"))
            differing.append(one.id)

    async def act() -> str:
        def wish(writing: Writing) -> None:
            for one in operations.held(writing, differing):
                if not one.is_final:
                    wishes.wish_look(writing, one.id, run.made_by)

        await means.book.write(wish)
        return f"{await _ends(means, differing)} of {len(differing)} have their end now"

    return Plan(
        changes=tuple(changes),
        act=act,
        note="plans that the thread has beside its own are shown by codex_get_workflow_status",
    )


async def _retry(means: Means, run: RepairRun) -> Plan:
    """The step that did not come to its end, once more, as far as is allowed now."""
    workflow_id = run.scope.workflow_id
    assert workflow_id is not None  # noqa: S101  # the desk asks for it
    workflow, ours = await means.book.read(lambda reading: _workflow(reading, workflow_id))
    now, failed = stand(workflow, ours), ours[-1]
    if now.phase not in ENDED or now.phase is Phase.COMPLETED:
        return Plan(note=f"the workflow is in phase {now.phase}: there is nothing to try again")
    if failed.status is Status.UNKNOWN and not run.force:
        return Plan(
            refusal="nobody knows whether the turn did its work: look at the folder first, then "
            "use force"
        )
    request, why_not = _allowed(failed.request, means.settings)
    if request is None:
        return Plan(refusal=why_not)

    def send(writing: Writing) -> OperationId:
        submission = Submission(
            request,
            # One run makes one operation, whatever happens in between.
            client_request_id=run.id,
            agent_id=failed.agent_id,
            dedup_policy=DedupPolicy.IDEMPOTENCY_ONLY,
            resource_keys=failed.resource_keys,
            workflow_id=workflow_id,
        )
        made = operations.insert_operation(writing, new_operation_id(writing.now), submission)
        present, _ = _workflow(writing.connection, workflow_id)
        workflows.add_operation(writing, present, made.id)
        return made.id

    async def act() -> str:
        return f"operation {await means.book.write(send)} does it again"

    options = options_of(request)
    assert options is not None  # noqa: S101  # see `_allowed`
    change = (
        f"{failed.id} ({failed.status}) is done again: sandbox {options.sandbox}, "
        f"approval_policy {options.approval_policy}"
    )
    return Plan(
        changes=(Change("workflow", workflow_id, change),),
        act=act,
        note="what the first attempt did to files is still there",
    )


def _allowed(request: TaskRequest, settings: Settings) -> tuple[TaskRequest | None, str | None]:
    """A request as the settings allow it now, or why not at all."""
    if not isinstance(request, StartChat | SendMessage | ExecutePlan | ForkThread | Review):
        return None, "its last step was no turn that is asked for in words"
    options = request.options
    if not is_within(Path(os.path.realpath(request.cwd)), settings.roots):
        return None, f"{request.cwd} is not within the allowed roots any more"
    modes: tuple[str, ...] = get_args(SandboxMode)
    lowest = min(modes.index(options.sandbox), modes.index(settings.max_sandbox))
    policy = options.approval_policy
    if policy not in settings.allowed_approval_policies:
        policy = ApprovalPolicy(settings.default_approval_policy)
    now = replace(options, sandbox=Sandbox(modes[lowest]), approval_policy=policy)
    return replace(request, options=now), None


# --- Questions and prompts -----------------------------------------------------------------------


async def _expire(means: Means, run: RepairRun) -> Plan:
    def look(reading: Reading) -> list[Interaction]:
        search = interactions.Search(
            operation_id=run.scope.operation_id,
            workflow_id=run.scope.workflow_id,
            thread_id=run.scope.thread_id,
            turn_id=run.scope.turn_id,
        )
        opened = interactions.listed(reading, search, behind=None, limit=QUESTIONS)
        asking = {one.operation_id for one in opened}
        ours = {one.id for one in lookup.many(reading, [*asking]) if _is_ours(means, one)}
        return [
            one
            for one in opened
            if one.operation_id in ours and means.is_gone(one.asked.app_server_id)
        ]

    stale = await means.book.read(look)

    def expire(writing: Writing) -> None:
        for one in stale:
            close(writing, one.id, InteractionStatus.EXPIRED, None)
            for wish in wishes.open_wishes(writing.connection, one.operation_id):
                if wish.interaction_id == one.id:
                    wishes.fulfil(writing, wish, wishes.Outcome.MOOT)

    async def act() -> str:
        await means.book.write(expire)
        return f"{len(stale)} questions have expired"

    return Plan(
        changes=tuple(
            Change("interaction", one.id, "pending → expired: who asked has ended") for one in stale
        ),
        act=act,
    )


async def _cleanup_prompts(means: Means, _run: RepairRun) -> Plan:
    before = Moment(means.book.now() - REPEATS_KEPT_MS)
    ended = await means.book.read(lambda reading: repeats.ended_before(reading, before))

    async def act() -> str:
        await means.book.write(lambda writing: repeats.forget(writing, ended))
        return f"{len(ended)} were forgotten"

    changes = tuple(
        Change("prompt_submission", id_, "forgotten: it ended more than a day ago") for id_ in ended
    )
    return Plan(
        changes=changes,
        act=act,
        note="the guard against the same prompt ends by itself with its operation",
    )


# --- The app-server ------------------------------------------------------------------------------


async def _restart_idle(means: Means, _run: RepairRun) -> Plan:
    return await _restart(means, by_force=False)


async def _restart_by_force(means: Means, _run: RepairRun) -> Plan:
    return await _restart(means, by_force=True)


async def _restart(means: Means, *, by_force: bool) -> Plan:
    status = means.app_servers.status()
    if not status.alive or status.process is None:
        return Plan(note="no app-server runs; the first task starts one")
    if not status.owned:
        return Plan(
            refusal="the app-server is Codex's shared one, and not ours to end; use "
            "`codex app-server daemon` for that"
        )
    if status.mode == "stdio":
        return Plan(refusal="on stdio the app-server lives and dies with the worker")
    busy = await _busy(means)
    cost = (
        f"{busy} {'turn' if busy == 1 else 'turns'} of it would be cut off and end as interrupted, "
        "with what they did left as it is; open questions would be withdrawn"
    )
    if busy and not by_force:
        return Plan(
            refusal=f"the app-server is busy: wait until its turns have ended. By force {cost}"
        )

    async def act() -> str:
        end, patience = (
            (means.app_servers.end_by_force, FORCE_SECONDS)
            if by_force
            else (means.app_servers.drain, DRAIN_SECONDS)
        )
        if not await end(patience):
            return "the former one has not ended yet; new turns go to another one all the same"
        async with means.workshop.line.session() as session:
            process = session.app_server.process
            return f"pid {process.pid if process else '?'} runs in its place"

    return Plan(
        changes=(
            Change("app_server", f"pid {status.process.pid}", "ended, and another one started"),
        ),
        act=act,
        note=cost if busy else "no turn runs in it",
    )


async def _busy(means: Means) -> int:
    """Turns that run there: ours, and by its own word also those that people began."""
    ours = len(await means.book.read(queue.active_jobs))
    session = means.workshop.line.present
    if session is None:
        return ours
    try:
        with anyio.fail_after(ASK_SECONDS):
            return max(ours, (await session.diagnostics()).active_turns or 0)
    except (CodexError, TimeoutError):
        return ours


# --- Caches and files ----------------------------------------------------------------------------


async def _rebuild_index(means: Means, _run: RepairRun) -> Plan:
    async def act() -> str:
        return f"{await means.rebuild_index()} texts are in it"

    path = means.settings.search_index
    size = f"{path.stat().st_size:,} bytes" if path.is_file() else "not there yet"
    change = Change("search_index", str(path), f"thrown away ({size}), and made from the book")
    return Plan(changes=(change,), act=act)


async def _refresh(means: Means, _run: RepairRun) -> Plan:
    waiting = means.hooks.waiting()

    async def act() -> str:
        forgotten = means.forget_catalogue()
        while await means.hooks.look():
            pass
        return f"{forgotten} answers of Codex were forgotten, {waiting} events taken in"

    return Plan(
        changes=(
            Change("catalogue", "codex", "what Codex offers is asked anew at the next look"),
            Change("history", "hooks", f"{waiting} events that wait are taken in"),
        ),
        act=act,
    )


async def _validate(means: Means, _run: RepairRun) -> Plan:
    settings = means.settings
    private = (settings.state_db, settings.worker_log, settings.search_index)
    open_to_others = [path for path in private if _is_open_to_others(path)]

    async def act() -> str:
        for path in open_to_others:
            path.chmod(0o600)
        return f"{len(open_to_others)} files are closed to other users now"

    return Plan(
        changes=tuple(
            Change("file", str(path), f"mode {stat.S_IMODE(path.stat().st_mode):o} → 600")
            for path in open_to_others
        ),
        act=act,
        note="; ".join(_wrong_paths(settings)) or "every path and setting is as it should be",
    )


def _is_open_to_others(path: Path) -> bool:
    # Windows has no such modes; the folder is the user's alone there.
    return sys.platform != "win32" and path.is_file() and bool(path.stat().st_mode & 0o077)


def _wrong_paths(settings: Settings) -> list[str]:
    """What only a person can correct."""
    found = [f"{root} is no folder (roots)" for root in settings.roots if not root.is_dir()]
    if not settings.roots:
        found.append("no root is set: CODEX_PROJECTS_ROOT, CODEX_ALLOWED_ROOTS")
    folder = settings.state_db.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        found.append(f"{folder} cannot be written (CODEX_MCP_STATE_DB)")
    for setting, path in (
        ("CODEX_BINARY_PATH", settings.codex_binary),
        ("CODEX_PROJECTS_REGISTRY", settings.projects_registry),
    ):
        if path is not None and not path.is_file():
            found.append(f"{path} is no file ({setting})")
    return found


# --- Particulars ---------------------------------------------------------------------------------


async def _unfinished(means: Means, scope: RepairScope) -> list[Operation]:
    """What has not ended of what is meant, oldest first."""

    def is_meant(one: Operation) -> bool:
        return (
            scope.operation_id in (None, one.id)
            and scope.workflow_id in (None, one.workflow_id)
            and scope.thread_id in (None, one.thread_id)
            and scope.turn_id in (None, one.turn_id)
        )

    unfinished = await means.book.read(lookup.unfinished)
    return [one for one in unfinished if _is_ours(means, one) and is_meant(one)]


def _is_ours(means: Means, operation: Operation) -> bool:
    """Whether no other host has it: of the processes of others nothing can be told here."""
    return operation.host in (None, means.book.host)


def _workflow(reading: Reading, workflow_id: WorkflowId) -> tuple[Workflow, Sequence[Operation]]:
    workflow = workflows.get(reading, workflow_id)
    if workflow is None:
        raise WorkflowNotFound(f"there is no workflow {workflow_id}", workflowId=workflow_id)
    return workflow, workflows.operations_of(reading, workflow)


async def _ends(means: Means, ids: Sequence[OperationId]) -> int:
    """Wait a while for these to end; how many have."""
    if not ids:
        return 0
    ended = 0
    with (
        anyio.move_on_after(END_SECONDS),
        means.book.bell.listening(*ids) as change,
    ):
        while True:
            now = await means.book.read(lambda reading: lookup.many(reading, ids))
            ended = sum(one.is_final for one in now)
            if ended == len(ids):
                break
            await change.wait()
    return ended


_PLANNERS: Final[dict[Action, Planner]] = {
    Action.RECOVER_STALE_OPERATIONS: _recover,
    Action.REFRESH_CATALOG_AND_HISTORY: _refresh,
    Action.RECONCILE_WORKFLOW_FROM_THREAD: _reconcile,
    Action.RETRY_WORKFLOW_WITH_RUNTIME_POLICY: _retry,
    Action.MARK_ORPHANED_AFTER_EXIT: _mark_orphaned,
    Action.RESTART_APP_SERVER_IDLE: _restart_idle,
    Action.FORCE_RESTART_APP_SERVER: _restart_by_force,
    Action.EXPIRE_STALE_PENDING_INTERACTIONS: _expire,
    Action.REBUILD_SEARCH_INDEX: _rebuild_index,
    Action.VALIDATE_PATHS_AND_CONFIG: _validate,
    Action.INTERRUPT_TURN: _interrupt,
    Action.CLEANUP_PROMPT_SUBMISSIONS: _cleanup_prompts,
}
