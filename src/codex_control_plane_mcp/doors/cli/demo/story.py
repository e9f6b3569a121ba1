"""What the demo does, act by act: every step is a call that any MCP client could make."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio

from codex_control_plane_mcp.codex.words.verbs import ListTurns
from codex_control_plane_mcp.doors.cli.client import Interaction, Operation, Server, ToolRefused
from codex_control_plane_mcp.doors.cli.demo.screen import Screen
from codex_control_plane_mcp.doors.cli.demo.stage import Stage
from codex_control_plane_mcp.doors.cli.ending import supervisor_of
from codex_control_plane_mcp.model.ids import ThreadId
from codex_control_plane_mcp.model.operation import Status

Decide = Callable[[Interaction], Awaitable[str]]

TASK = "Look at this project, and note in NOTES.md what is left to do."
REAL_TASK = (
    "MCP LIVE TEST / DO NOT MODIFY FILES\n"
    "Read hello.py and say in two short sentences what it does and what is left to do. "
    "Read only: change nothing, and use no network."
)
REQUEST_ID = "demo-1"

#: Between two answers of a person: the script needs seconds, a real model perhaps minutes.
STRETCH_SECONDS = 120.0
REAL_STRETCH_SECONDS = 900.0
#: One call waits this long for news.
WAIT_SECONDS = 30
#: An interrupted turn ends in milliseconds.
INTERRUPT_SECONDS = 10.0


@dataclass(slots=True)
class Outcome:
    """What happened, as far as it got."""

    operation: Operation | None = None
    acknowledged_ms: float | None = None
    #: What was asked for, and what was decided, in order.
    decisions: list[tuple[str, str]] = field(default_factory=list)
    #: None: Codex could not be asked.
    same_as_codex: bool | None = None
    same_operation: bool | None = None
    note_written: bool | None = None
    problem: str | None = None

    @property
    def report(self) -> str | None:
        final = self.operation.final_report if self.operation else None
        return final.text if final else None

    @property
    def is_success(self) -> bool:
        completed = self.operation is not None and self.operation.status == Status.COMPLETED
        return completed and bool(self.report) and self.problem is None


class Story:
    """One telling of it."""

    def __init__(self, stage: Stage, screen: Screen, decide: Decide) -> None:
        self.outcome = Outcome()
        self._stage = stage
        self._screen = screen
        self._decide = decide
        self._began = time.monotonic()
        self._submitted = False

    async def tell(self, server: Server) -> None:
        """All of it. Raises ToolRefused, MCPError, CodexError or TimeoutError."""
        operation = await self._submit(server)
        operation = await self._follow(server, operation)
        self.outcome.note_written = self._stage.note.exists()
        if operation.status != Status.COMPLETED:
            self._screen.ended_otherwise(operation)
            return
        await self._read_report(operation)
        await self._submit_again(server, operation)

    async def leave_no_turn(self, server: Server) -> None:
        """End the turn, should it still run: it would keep the app-server from ending."""
        operation = self.outcome.operation
        if not self._submitted or (operation is not None and operation.is_final):
            return
        with anyio.move_on_after(INTERRUPT_SECONDS, shield=True):
            try:
                # Interrupted before its acknowledgement came: asking again is safe, and tells.
                operation = operation or await server.submit(**self._arguments)
                await server.interrupt(operation.operation_id)
                while not operation.is_final:
                    operation = await server.status(
                        operation.operation_id, wait_seconds=5, after_seq=operation.latest_seq
                    )
            except ToolRefused:
                return  # it ended meanwhile, or never began

    async def _submit(self, server: Server) -> Operation:
        self._screen.act("Hand in a task", "codex_submit_task")
        self._screen.task(self._task, self._stage.project)
        self._began = time.monotonic()
        self._submitted = True
        operation = await server.submit(**self._arguments)
        self.outcome.operation = operation
        self.outcome.acknowledged_ms = (time.monotonic() - self._began) * 1000
        self._screen.acknowledged(operation, self.outcome.acknowledged_ms)
        return operation

    @property
    def _task(self) -> str:
        return REAL_TASK if self._stage.real else TASK

    @property
    def _arguments(self) -> dict[str, object]:
        return {
            "operation_type": "start_chat",
            "cwd": str(self._stage.project),
            "message": self._task,
            "client_request_id": REQUEST_ID,
            "sandbox": "read-only",
            "approval_policy": "on-request",
        }

    async def _follow(self, server: Server, operation: Operation) -> Operation:
        """Show what happens until the operation is final, and answer what Codex asks."""
        self._screen.act("Follow it", "codex_get_operation_status")
        answered: set[str] = set()
        shown = 0
        while True:
            operation, shown = await self._until_asked(server, operation, shown, answered)
            if operation.is_final:
                return operation
            for asked in operation.pending_interactions:
                if asked.interaction_id not in answered:
                    answered.add(asked.interaction_id)
                    await self._answer(server, asked)
            self._screen.act("Follow it further", "codex_get_operation_status")

    async def _until_asked(
        self, server: Server, operation: Operation, shown: int, answered: set[str]
    ) -> tuple[Operation, int]:
        with anyio.fail_after(REAL_STRETCH_SECONDS if self._stage.real else STRETCH_SECONDS):
            while True:
                operation = await server.status(
                    operation.operation_id, wait_seconds=WAIT_SECONDS, after_seq=shown
                )
                self.outcome.operation = operation
                for event in operation.progress_events:
                    self._screen.progress(event, time.monotonic() - self._began)
                shown = operation.next_after_seq or operation.latest_seq
                asks = any(i.interaction_id not in answered for i in operation.pending_interactions)
                if shown >= operation.latest_seq and (operation.is_final or asks):
                    return operation, shown

    async def _answer(self, server: Server, asked: Interaction) -> None:
        self._screen.act("Codex asks, you decide", "codex_answer_pending_interaction")
        self._screen.question(asked)
        decision = await self._decide(asked)
        await server.answer(asked.interaction_id, decision)
        self.outcome.decisions.append((asked.command or asked.prompt, decision))
        self._screen.answered(decision)

    async def _read_report(self, operation: Operation) -> None:
        self._screen.act("Read the report", "codex_get_operation_status")
        self._screen.report(self.outcome.report)
        recorded = await self._recorded_by_codex(operation)
        self.outcome.same_as_codex = recorded is not None and recorded == self.outcome.report
        self._screen.compared(self.outcome.same_as_codex)
        if not self._stage.real:
            self._screen.note(self._stage.note, written=self._stage.note.exists())

    async def _recorded_by_codex(self, operation: Operation) -> str | None:
        """The last word of the turn in Codex's own record, read past our server."""
        if operation.thread_id is None:
            return None
        verb = ListTurns(ThreadId(operation.thread_id), limit=5, items_view="full")
        async with supervisor_of(self._stage.settings, self._stage.environ).connect() as codex:
            turns = (await codex.list_turns(verb)).data
        said = next((turn.final_message for turn in turns if turn.id == operation.turn_id), None)
        return None if said is None else said.text

    async def _submit_again(self, server: Server, first: Operation) -> None:
        self._screen.act("Hand it in again", "codex_submit_task")
        again = await server.submit(**self._arguments)
        same = again.operation_id == first.operation_id and again.turn_id == first.turn_id
        self.outcome.same_operation = same and again.idempotent
        self._screen.submitted_again(REQUEST_ID, same=self.outcome.same_operation)
