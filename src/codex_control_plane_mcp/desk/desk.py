"""The desk itself: one method for each thing a door may want. Every door has the same one."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread

from codex_control_plane_mcp import paths
from codex_control_plane_mcp.clock import Clock
from codex_control_plane_mcp.desk import (
    chat_lists,
    chats,
    preflight,
    projects,
    repair,
    turns,
    views,
    views_chats,
    views_diagnostics,
    views_inventory,
)
from codex_control_plane_mcp.desk.capabilities import Asked, Capabilities
from codex_control_plane_mcp.desk.changes import Changes, changes
from codex_control_plane_mcp.desk.diagnosis import collection, facts, surroundings
from codex_control_plane_mcp.desk.diagnosis.analysis import analysis
from codex_control_plane_mcp.desk.diagnosis.logs import LogQuery, read_log
from codex_control_plane_mcp.desk.fleet import host_lines
from codex_control_plane_mcp.desk.health import Scope, app_server_status, look_around
from codex_control_plane_mcp.desk.interactions import Given, Page, answer_once, listed, still_open
from codex_control_plane_mcp.desk.interrupt import Target, end
from codex_control_plane_mcp.desk.metrics import Metrics, measure
from codex_control_plane_mcp.desk.overview import Overview
from codex_control_plane_mcp.desk.places import Places
from codex_control_plane_mcp.desk.preflight import Planned
from codex_control_plane_mcp.desk.projects import Place
from codex_control_plane_mcp.desk.queue import (
    QueueLook,
    WorkerLook,
    queue_status,
    worker_status,
)
from codex_control_plane_mcp.desk.recent import OperationPage, ThreadView, recent, thread
from codex_control_plane_mcp.desk.repeats import Repeats
from codex_control_plane_mcp.desk.runtime import RuntimeView
from codex_control_plane_mcp.desk.search import Page as SearchPage
from codex_control_plane_mcp.desk.search import Query, Search
from codex_control_plane_mcp.desk.status import Look, look, view
from codex_control_plane_mcp.desk.submit import (
    Accepted,
    Task,
    check,
    earlier,
    enter,
    look_at_inputs,
    submission,
)
from codex_control_plane_mcp.desk.summary import Summaries
from codex_control_plane_mcp.desk.threads import Action, action_status, carry_out, check_thread
from codex_control_plane_mcp.desk.views_fleet import FleetView
from codex_control_plane_mcp.desk.views_queue import QueueView, WorkersView
from codex_control_plane_mcp.desk.wait import (
    ENDED_OR_ASKS,
    STARTED,
    Shown,
    Until,
    Watched,
    attention,
    changed,
    next_entry,
    reached,
)
from codex_control_plane_mcp.desk.workflows.desk import Workflows
from codex_control_plane_mcp.errors import InvalidArgument, ProjectNotFound
from codex_control_plane_mcp.model.ids import (
    InteractionId,
    OperationId,
    RepairId,
    ThreadId,
    TurnId,
    WorkflowId,
)
from codex_control_plane_mcp.model.operation import FINAL, Status
from codex_control_plane_mcp.model.policy import Sandbox, is_within
from codex_control_plane_mcp.model.repair import Action as RepairAction
from codex_control_plane_mcp.model.request import (
    DedupPolicy,
    Submission,
)
from codex_control_plane_mcp.model.schedule import Limits
from codex_control_plane_mcp.settings import Settings
from codex_control_plane_mcp.store import lookup, queue
from codex_control_plane_mcp.store.book import Book, Writing

T = TypeVar("T")

#: Facts are wanted even where Codex is slow to say what it offers.
FACTS_SECONDS = 3.0


def limits_of(settings: Settings) -> Limits:
    """The settings' limits, as the schedule wants them."""
    return Limits(
        everywhere=settings.max_active_turns_global,
        per_project=settings.max_active_turns_per_project,
        per_agent=settings.max_active_turns_per_agent,
        writing_per_project=settings.max_active_write_turns_per_project,
    )


@dataclass(frozen=True, slots=True)
class Projects:
    """Which projects to list."""

    limit: int = 50
    #: Only those below one of these folders.
    below: tuple[str, ...] = ()
    #: Say how each is known.
    with_source: bool = False


class Desk:
    """Reception over one book. Methods raise `errors.ControlPlaneError` and nothing else that a
    caller could mend."""

    def __init__(
        self,
        book: Book,
        settings: Settings,
        clock: Clock,
        runtime: RuntimeView,
        *,
        threads: bool = True,
        summaries: Summaries | None = None,
    ) -> None:
        self._book = book
        self._settings = settings
        self._clock = clock
        self._runtime = runtime
        self._limits = limits_of(settings)
        self._threads = threads
        self._repeats = Repeats()
        self._summaries = summaries or Summaries()
        self._places = Places(book, settings, runtime, self._off_loop)
        self._sources = chats.Sources(book, settings, runtime, self._off_loop, self._summaries)
        self._shown = Shown()
        self.workflows = Workflows(
            book,
            settings,
            clock,
            runtime,
            self._limits,
            self._places.of,
            self._off_loop,
            self._shown,
        )
        self.overview = Overview(book, clock, self._limits)
        self._capabilities = Capabilities(runtime, clock)
        #: The house keeps it up to date.
        self.searching = Search(book, settings, threads=threads)

    @property
    def settings(self) -> Settings:
        """For doors that offer more or less by them."""
        return self._settings

    async def submit(self, task: Task) -> views.OperationView:
        """Take a task in; when this returns, it is on the disk."""
        if task.workflow_id is not None:
            more = await self.workflows.more(task, WorkflowId(task.workflow_id))
            return await self._store(more)
        return await self._take_in(task, enter)

    async def start(self, task: Task, wait_seconds: float) -> views.OperationView:
        """Take a task in, and wait until its turn runs or never will."""
        by = anyio.current_time() + wait_seconds
        return await self._once(await self.submit(task), STARTED, by)

    async def run(self, task: Task, wait_seconds: float) -> views.OperationView:
        """Take a task in, and wait until it has ended or Codex asks something.

        The same task again is the same operation (see `repeats`), so that whoever could not wait
        that long, or lost the answer, makes the same call again. In a thread that exists it runs
        as the last turn did.
        """
        by = anyio.current_time() + wait_seconds
        options = await self._options_in(task.thread_id)
        alike = replace(task, dedup_policy=DedupPolicy.IDEMPOTENCY_ONLY, **options)
        receipt = await self._take_in(alike, self._repeats.enter)
        shown = await self._once(receipt, ENDED_OR_ASKS, by)
        if shown.status in FINAL:
            self._repeats.handed_out(OperationId(shown.operation_id))
        return shown

    async def _once(
        self, receipt: views.OperationView, statuses: frozenset[Status], by: float
    ) -> views.OperationView:
        """The operation of a receipt as it is once it has one of these statuses, or at that time.
        Taking it in may have taken long: the disk is slow, or Codex has to be asked something."""
        id_ = OperationId(receipt.operation_id)
        await reached(self._book, id_, statuses, by - anyio.current_time())
        shown = await self.status(Look(operation_id=id_, progress_events=0))
        return replace(shown, idempotent=receipt.idempotent)

    async def _take_in(
        self, task: Task, enter: Callable[[Writing, Submission], Accepted]
    ) -> views.OperationView:
        if task.output_schema is None:
            check(task)
        else:  # a large one keeps a processor busy for half a second
            await self._off_loop(lambda: check(task))
        wanted = await self._prepared(task)
        return await self._store(lambda writing: enter(writing, wanted))

    async def _store(self, take_in: Callable[[Writing], Accepted]) -> views.OperationView:
        def store(writing: Writing) -> views.OperationView:
            accepted = take_in(writing)
            return view(
                writing.connection,
                accepted.operation,
                Look(operation_id=accepted.operation.id, progress_events=0),
                self._limits,
                writing.now,
                idempotent=accepted.idempotent,
            )

        return await self._book.write(store)

    async def status(
        self, wanted: Look, wait_seconds: float = 0, by: str = ""
    ) -> views.OperationView:
        """How an operation stands, now or once it has ended or asks something that this caller has
        not been shown, or its host is lost; behind a number, at the next entry."""
        if wait_seconds > 0:
            if wanted.after_seq is None:
                known = self._shown.to(by)
                calls = await attention(self._book, wanted.operation_id, wait_seconds, known)
                self._shown.told(by, calls)
            else:
                await next_entry(self._book, wanted.operation_id, wait_seconds, wanted.after_seq)
        now = self._clock.now()
        found = await self._book.glance(lambda reading: look(reading, wanted, self._limits, now))
        self._shown.note(by, found.pending_interactions)
        return found

    async def started(self, operation_id: OperationId, wait_seconds: float) -> views.OperationView:
        """How an operation stands once its turn runs, or never will, or after so long."""
        await reached(self._book, operation_id, STARTED, wait_seconds)
        return await self.status(Look(operation_id=operation_id, progress_events=0))

    async def wait(
        self,
        watched: Watched,
        wait_seconds: float,
        cursor: str | None,
        what: Until = Until.ATTENTION,
    ) -> views.WaitView:
        """What changed, as soon as something did."""
        return await changed(self._book, watched, wait_seconds, cursor, what)

    async def interactions(self, page: Page, by: str = "") -> views.InteractionList:
        """Codex's questions."""
        found = await self._book.read(lambda reading: listed(reading, page))
        self._shown.note(by, found.interactions)
        return found

    async def question(self, interaction_id: InteractionId) -> views.InteractionView | None:
        """One of them, as long as it can be answered."""
        return await self._book.read(lambda reading: still_open(reading, interaction_id))

    async def answer(self, given: Given) -> views.AnswerReceipt:
        """Answer one of them."""
        return await answer_once(self._book, given)

    async def interrupt(self, target: Target, by: str) -> views.InterruptReceipt:
        """End an operation."""
        return await end(self._book, target, by)

    async def act(self, action: Action, thread_id: str) -> views.ActionView:
        """Do something with a thread, not in it."""
        check_thread(thread_id)
        thread = ThreadId(thread_id)
        home = await self._places.known_home(thread) or await self._places.told_home(thread)
        return await carry_out(self._book, action, thread, home)

    async def action(self, action_id: OperationId, wait_seconds: float = 0) -> views.ActionView:
        """How a compaction stands."""
        return await action_status(self._book, action_id, wait_seconds)

    async def queue_status(self, wanted: QueueLook) -> QueueView:
        """Who waits and why, and what runs."""
        now = self._clock.now()
        return await self._book.read(
            lambda reading: queue_status(reading, wanted, self._limits, now)
        )

    async def hosts(self) -> FleetView:
        """The hosts of the fleet."""
        return FleetView(await self._book.read(host_lines))

    async def worker_status(self, wanted: WorkerLook) -> WorkersView:
        """Who works, and who has."""
        return await self._book.read(lambda reading: worker_status(reading, wanted))

    async def metrics(self) -> Metrics:
        """The state of everything in numbers."""
        now = self._clock.now()
        return await self._book.read(
            lambda reading: measure(reading, self._limits, self._book.host, now)
        )

    async def recent(self, cursor: str | None) -> OperationPage:
        """The operations that were submitted last."""
        return await recent(self._book, cursor)

    def changes(self) -> AbstractAsyncContextManager[Changes]:
        """What changes from now on."""
        return changes(self._book)

    async def thread(self, thread_id: str, cursor: str | None) -> ThreadView:
        """A thread, as our own book knows it."""
        check_thread(thread_id)
        return await thread(self._book, self._summaries, ThreadId(thread_id), cursor)

    async def projects(self, wanted: Projects) -> views.ProjectList:
        """Where tasks can be sent."""
        known = await self._runtime.codex_projects()
        touched = [*await self._places.touched(), *await chat_lists.touched(self._sources)]
        found = await self._off_loop(lambda: projects.catalogue(self._settings, touched, known))
        below = tuple(Path(paths.expand(folder)) for folder in wanted.below)
        chosen = [one for one in found if not below or is_within(one.path, below)]
        return views.ProjectList(
            projects=tuple(
                views.ProjectView(
                    project_id=project.id,
                    name=project.name,
                    path=str(project.path),
                    last_activity_at=project.last_activity_at,
                    allowed=is_within(project.path, self._settings.roots),
                    source=project.source if wanted.with_source else None,
                )
                for project in chosen[: wanted.limit]
            ),
            total=len(chosen),
            advice=None if self._settings.roots else projects.NO_ROOTS,
        )

    async def only_folder(self) -> str | None:
        """The folder that is meant where none is named, if there is one."""
        folder = await self._off_loop(lambda: projects.only_folder(self._settings))
        return None if folder is None else str(folder)

    async def project_chats(
        self, project: str, *, include_archived: bool, limit: int, cursor: str | None
    ) -> views_chats.ChatList:
        """The chats of a project."""
        touched = await self._places.touched()
        place = await self._off_loop(
            lambda: projects.place(self._settings, touched, project=project, cwd=None)
        )
        return await chat_lists.of_project(
            self._sources,
            place.project_id,
            include_archived=include_archived,
            limit=limit,
            cursor=cursor,
        )

    async def active_chats(self, limit: int) -> views_chats.ActiveChats:
        """Where something is going on."""
        return await chat_lists.active(self._sources, limit)

    async def chat_status(self, chat_id: ThreadId) -> views_chats.ChatStatus:
        """How a chat stands."""
        return await chats.status(self._sources, chat_id)

    async def chat(self, wanted: chats.Wanted) -> views_chats.Chat:
        """What stands in a chat."""
        return await chats.read(self._sources, wanted)

    async def turn_status(
        self, turn_id: TurnId, thread_id: ThreadId | None
    ) -> views_chats.TurnStatus:
        """How a turn went."""
        return await turns.status(self._sources, turn_id, thread_id)

    def app_server(self) -> views_chats.AppServerStatus:
        """The app-server, as it is known now."""
        return app_server_status(self._settings, self._runtime)

    async def search(self, query: Query) -> SearchPage:
        """What was asked and said, here and in Codex."""
        return await self.searching.find(query, await self._places.touched())

    async def health(self, scope: Scope) -> views.HealthView:
        """Whether everything is in order."""
        shown = await look_around(self._book, self._settings, self._limits, self._runtime, scope)
        return replace(shown, runtime_capabilities=self._capabilities.last)

    async def repair(self, asked: repair.Asked) -> views_diagnostics.RepairView:
        """Have something mended, or planned."""
        return await repair.mend(self._book, asked)

    async def repair_sheet(self, repair_id: RepairId) -> views_diagnostics.RepairSheet:
        """A repair that was asked for, and what came of it."""
        return await repair.sheet(self._book, repair_id)

    async def carry_out_repair(self, plan_id: RepairId, by: str) -> views_diagnostics.RepairView:
        """Have done just what a dry run said."""
        return await repair.carry_out(self._book, plan_id, by)

    async def restart_app_server(self, by: str, *, force: bool) -> views_diagnostics.RepairView:
        """End the app-server after its turns, and start another. By force turns are cut off."""
        action = (
            RepairAction.FORCE_RESTART_APP_SERVER if force else RepairAction.RESTART_APP_SERVER_IDLE
        )
        return await self.repair(repair.Asked(action=action, by=by, dry_run=False, force=force))

    async def logs(self, wanted: LogQuery) -> views_diagnostics.LogView:
        """The last lines of a log."""
        return await self._off_loop(lambda: read_log(self._settings, wanted))

    async def analyze(
        self, scope: facts.Scope, problem_text: str = ""
    ) -> views_diagnostics.AnalysisView:
        """What is wrong, why, and what to do."""
        return analysis(await self._facts(scope, problem_text))

    async def collect(
        self, scope: facts.Scope, problem_text: str = ""
    ) -> views_diagnostics.DiagnosticsView:
        """Everything for a bug report."""
        known = await self._facts(scope, problem_text)
        shown = [case.operation for case in known.cases][: collection.OPERATIONS]
        events, briefs = await self._book.read(
            lambda reading: (
                collection.timeline(reading, shown),
                [collection.brief(reading, one) for one in shown],
            )
        )
        overall = (await self.health(Scope())).overall_status
        return collection.collection(known, events, briefs, overall)

    async def _facts(self, scope: facts.Scope, problem_text: str) -> facts.Facts:
        answers = await self._runtime.answers()
        if answers is not False:
            # Asks only an app-server that runs, and only what is not known.
            await self._capabilities.look(Asked(timeout_seconds=FACTS_SECONDS))
        around = await self._off_loop(lambda: surroundings.look(self._settings))
        log = await self.logs(LogQuery(level="WARNING"))
        standing = self._runtime.standing()
        now = self._clock.now()
        return facts.Facts(
            now=now,
            scope=scope,
            problem_text=problem_text,
            books=await self._book.read(
                lambda reading: facts.look(
                    reading,
                    scope,
                    self._limits,
                    self._runtime.is_gone,
                    now,
                    host=self._book.host,
                )
            ),
            codex=standing.codex,
            app_server=standing.app_server,
            app_server_answers=answers,
            capabilities=self._capabilities.newest,
            around=around,
            limits=self._limits,
            log=facts.recent(log.lines, now),
        )

    async def capabilities(self, asked: Asked) -> views_inventory.CapabilitiesView:
        """What Codex offers."""
        wanted = asked.wanted
        if wanted.cwd is not None:
            cwd = wanted.cwd
            folder = await self._off_loop(
                lambda: projects.allowed_folder(self._settings, "cwd", cwd)
            )
            asked = replace(asked, wanted=replace(wanted, cwd=str(folder)))
        return await self._capabilities.look(asked)

    def forget_capabilities(self) -> int:
        """Have Codex be asked anew what it offers; how many answers were forgotten."""
        return self._capabilities.forget()

    async def preflight(self, planned: Planned) -> views_inventory.PreflightView:
        """Whether a task would run. Raises InvalidArgument where no folder is named at all."""
        wanted = preflight.course(planned, self._settings)
        place, checks = await self._folder_checks(planned, wanted.sandbox)
        word = await self._runtime.ask_codex(preflight.ASKED, preflight.ASK_SECONDS, may_start=True)
        checks += preflight.codex_checks(self._runtime.standing().codex, word, wanted)
        now = self._clock.now()
        active = await self._book.read(queue.active_jobs)
        checks.append(preflight.queue_check(active, self._limits, place, wanted.sandbox, now))
        probed = None
        would_run = all(one.status != "failed" for one in checks)
        if planned.live_probe and would_run and place is not None:
            probed = await preflight.probe(
                self._book, self.submit, self.status, place, wanted.model, now
            )
            checks.append(preflight.probe_check(probed))
        return preflight.verdict(place, wanted, checks, probed)

    async def _folder_checks(
        self, planned: Planned, sandbox: Sandbox
    ) -> tuple[Place | None, list[views_inventory.Check]]:
        if planned.project is None and planned.cwd is None:
            raise InvalidArgument("say where it would work: project_id or cwd", field="cwd")
        try:
            place = await self._places.named(planned.project, planned.cwd)
        except (InvalidArgument, ProjectNotFound) as error:
            return None, list(preflight.folder_checks(error, None, sandbox))
        disk = await self._off_loop(lambda: preflight.on_disk(place.cwd))
        return place, list(preflight.folder_checks(place, disk, sandbox))

    async def _prepared(self, task: Task) -> Submission:
        """The task with everything decided, and what it works with looked at."""
        place = await self._places.of(task)
        host = await self._places.placement(task)
        if not task.items and not task.worktree:
            return submission(task, place, host, self._settings)
        wanted = await self._off_loop(lambda: submission(task, place, host, self._settings))
        # What was taken in before is not looked at again: a picture may be gone by now.
        if await self._book.read(lambda reading: earlier(reading, wanted)) is None:
            await self._off_loop(lambda: look_at_inputs(wanted.request, self._settings))
        return wanted

    async def _options_in(self, thread_id: str | None) -> dict[str, Any]:
        """How the last turn of a thread ran, in the words of a task."""
        if thread_id is None:
            return {}
        options = await self._book.read(
            lambda reading: lookup.options_in_thread(reading, ThreadId(thread_id))
        )
        if options is None:
            return {}
        return {
            name: getattr(options, name)
            for name in ("sandbox", "approval_policy", "model", "effort")
        }

    async def _off_loop(self, call: Callable[[], T]) -> T:
        """Run what looks at the disk in a thread, for a disk may be slow; inline where time is
        virtual."""
        if self._threads:
            return await anyio.to_thread.run_sync(call)
        await anyio.lowlevel.checkpoint()
        return call()
