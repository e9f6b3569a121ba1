"""Is everything in order? Looks only: nothing is started, asked or repaired."""

from dataclasses import dataclass

from codex_control_plane_mcp.clock import isoformat
from codex_control_plane_mcp.desk import views
from codex_control_plane_mcp.desk.diagnosis import surroundings
from codex_control_plane_mcp.desk.diagnosis.surroundings import Disk
from codex_control_plane_mcp.desk.fleet import host_lines
from codex_control_plane_mcp.desk.projects import NO_ROOTS
from codex_control_plane_mcp.desk.runtime import AppServerState, CodexState, RuntimeView
from codex_control_plane_mcp.desk.status import found, lines
from codex_control_plane_mcp.desk.views_chats import AppServerStatus
from codex_control_plane_mcp.desk.views_fleet import HostLine
from codex_control_plane_mcp.desk.workflows.standing import found as workflow_found
from codex_control_plane_mcp.desk.workflows.standing import present
from codex_control_plane_mcp.errors import ThreadNotFound
from codex_control_plane_mcp.model.ids import HostId, OperationId, ThreadId, WorkflowId
from codex_control_plane_mcp.model.operation import Operation
from codex_control_plane_mcp.model.schedule import Limits
from codex_control_plane_mcp.settings import Settings
from codex_control_plane_mcp.store import interactions, lookup, notices, queue, workers
from codex_control_plane_mcp.store.book import Book, Reading
from codex_control_plane_mcp.store.workers import Worker


@dataclass(frozen=True, slots=True)
class Scope:
    """What to look at beside the whole."""

    operation_id: OperationId | None = None
    workflow_id: WorkflowId | None = None
    thread_id: ThreadId | None = None
    max_recent_errors: int = 5


@dataclass(frozen=True, slots=True)
class _Books:
    """What the book says, in one look."""

    queued: int
    active: int
    pending_interactions: int
    worker: Worker | None
    troubles: list[Operation]
    dead_notices: int
    operation: views.OperationLine | None
    hosts: tuple[HostLine, ...]


async def look_around(
    book: Book,
    settings: Settings,
    limits: Limits,
    runtime: RuntimeView,
    scope: Scope,
) -> views.HealthView:
    """Raises OperationNotFound, ThreadNotFound or WorkflowNotFound for a scope that does not
    exist."""
    books = await book.glance(lambda reading: _look(reading, scope, book.host))
    # Small files beside the book: done on the spot, as the look into it.
    disk, hooks = surroundings.disk(settings.state_db.parent), surroundings.hooks(settings)
    standing = runtime.standing()
    app_server, codex = standing.app_server, standing.codex
    problems = _problems(settings, app_server, codex, disk)
    if books.dead_notices:
        problems.append(
            views.Problem(
                "degraded",
                f"{books.dead_notices} notices could not be delivered and were given up; see "
                "`codex-control-plane-mcp-admin notices list`, mend the receiver, and replay them",
            )
        )
    problems += [_absence(one) for one in books.hosts if one.is_missed]
    return views.HealthView(
        overall_status=_overall(problems),
        problems=tuple(problems),
        active_work=views.ActiveWork(books.active, books.pending_interactions, books.queued),
        queue=views.QueueHealth(books.queued, books.active, limits.everywhere),
        app_server=views.AppServerHealth(
            status=standing_of(app_server),
            pid=app_server.pid,
            version=app_server.version,
            transport=app_server.transport,
            ownership=app_server.ownership,
            started_at=app_server.started_at,
            active_turns=app_server.active_turns,
        ),
        codex=views.CodexHealth(None if codex.binary is None else str(codex.binary), codex.version),
        worker=None if books.worker is None else _worker(books.worker),
        state_database=_state_database(settings),
        disk=views.DiskHealth(disk.folder, disk.free_bytes, disk.writable),
        hooks=views.HooksHealth(hooks.installed, hooks.enabled, hooks.waiting),
        recent_errors=tuple(_error(operation) for operation in books.troubles),
        next_recommended_action=_next_action(problems, books.pending_interactions),
        operation=books.operation,
        hosts=books.hosts or None,
    )


def app_server_status(settings: Settings, runtime: RuntimeView) -> AppServerStatus:
    """The app-server by itself, with whatever is wrong with it or with Codex."""
    standing = runtime.standing()
    app_server, codex = standing.app_server, standing.codex
    return AppServerStatus(
        status=standing_of(app_server),
        pid=app_server.pid,
        version=app_server.version,
        transport=app_server.transport,
        ownership=app_server.ownership if app_server.running else None,
        started_at=app_server.started_at,
        active_turns=app_server.active_turns,
        problem=app_server.problem or codex.problem,
        codex_binary=None if codex.binary is None else str(codex.binary),
        codex_home=str(settings.codex_home),
    )


def _look(reading: Reading, scope: Scope, host: HostId) -> _Books:
    operation = _scoped(reading, scope)
    return _Books(
        queued=queue.queued_count(reading),
        active=len(queue.active_jobs(reading)),
        pending_interactions=interactions.open_count(reading),
        worker=workers.latest(reading, host),
        troubles=lookup.recent_troubles(reading, scope.max_recent_errors),
        dead_notices=notices.dead_count(reading),
        operation=None if operation is None else lines(reading, [operation])[0],
        hosts=host_lines(reading),
    )


def _scoped(reading: Reading, scope: Scope) -> Operation | None:
    if scope.operation_id is not None:
        return found(reading, scope.operation_id)
    if scope.workflow_id is not None:
        return present(reading, workflow_found(reading, scope.workflow_id)).operation
    if scope.thread_id is None:
        return None
    operation = lookup.newest_in_thread(reading, scope.thread_id)
    if operation is None:
        raise ThreadNotFound(
            f"no operation of this control plane touched the thread {scope.thread_id}",
            threadId=scope.thread_id,
        )
    return operation


def _problems(
    settings: Settings, app_server: AppServerState, codex: CodexState, disk: Disk
) -> list[views.Problem]:
    problems: list[views.Problem] = []
    if codex.problem is not None:
        problems.append(views.Problem("broken", codex.problem))
    if app_server.problem is not None:
        problems.append(views.Problem("degraded", app_server.problem))
    if not disk.writable:
        problems.append(views.Problem("broken", f"{disk.folder} cannot be written"))
    if disk.is_full:
        problems.append(views.Problem("broken", f"the disk of {disk.folder} is full"))
    elif disk.is_low:
        problems.append(views.Problem("degraded", f"the disk of {disk.folder} is nearly full"))
    if not settings.roots:
        problems.append(views.Problem("advice", NO_ROOTS))
    return problems


def _absence(host: HostLine) -> views.Problem:
    return views.Problem(
        "degraded",
        f"the host {host.host} is not connected since {isoformat(host.seen_at)} (turns it had in "
        f"hand: {host.active_turn_count}, tasks that wait for it: {host.queued_count}); bring it "
        "back, or give up what it had in hand with `codex-control-plane-mcp-admin requeue`",
    )


def _next_action(problems: list[views.Problem], pending_interactions: int) -> str:
    if _overall(problems) != "healthy":
        return "inspect_diagnostics"
    if pending_interactions:
        return "answer_pending_interaction"
    return "set_projects_root" if problems else "none"


def _overall(problems: list[views.Problem]) -> str:
    severities = {problem.severity for problem in problems}
    return next((one for one in ("broken", "degraded") if one in severities), "healthy")


def standing_of(app_server: AppServerState) -> str:
    """What an app-server's status is called: running, not_started or unavailable."""
    if app_server.running:
        return "running"
    return "not_started" if app_server.problem is None else "unavailable"


def _worker(worker: Worker) -> views.WorkerHealth:
    return views.WorkerHealth(
        worker.pid, worker.generation, worker.version, worker.started_at, worker.heartbeat_at
    )


def _state_database(settings: Settings) -> views.StateDatabase:
    if settings.database_url is not None:
        return views.StateDatabase(str(settings.database_url), None)
    try:
        size = settings.state_db.stat().st_size
    except OSError:
        size = None
    return views.StateDatabase(str(settings.state_db), size)


def _error(operation: Operation) -> views.RecentError:
    assert operation.trouble is not None  # noqa: S101  # that is how they were chosen
    return views.RecentError(
        operation.id,
        operation.status,
        operation.trouble.code,
        operation.trouble.message,
        operation.updated_at,
    )
