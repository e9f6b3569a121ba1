"""How a task that is followed is told of: at a terminal, in lines of JSON, or not at all.

At a terminal the last line lives: it says how the task stands, and what the agent is just saying.
All else is written once and stays, so that a log of it reads well.
"""

import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from codex_control_plane_mcp.desk.views import OperationView, ProgressEvent
from codex_control_plane_mcp.desk.workflows.views import WorkflowView
from codex_control_plane_mcp.doors.cli.exits import Exit
from codex_control_plane_mcp.doors.cli.following import Teller
from codex_control_plane_mcp.doors.cli.room import to_judge
from codex_control_plane_mcp.doors.cli.sheets import (
    QUIET_SECONDS,
    how_to_answer,
    how_to_decide,
    plan,
    question,
    shortened,
)
from codex_control_plane_mcp.doors.cli.speaking import document, print_json
from codex_control_plane_mcp.doors.cli.words import (
    MARKS,
    lasted,
    local_time,
    plain,
    state_name,
    style_of,
)
from codex_control_plane_mcp.doors.presentable import presentable
from codex_control_plane_mcp.doors.shape import Json, as_json
from codex_control_plane_mcp.model.journal import Category
from codex_control_plane_mcp.model.operation import FINAL, Status

_SPOKEN = (Category.ASSISTANT, Category.PLAN)
#: Of what is just being said, so many lines live.
LIVE_LINES = 4


class Narrator(Teller, AbstractContextManager["Narrator"], Protocol):
    """A teller with a beginning and an end."""

    def submitted(self, id_: str, *, again: bool) -> None: ...

    def ended(self, outcome: Exit, view: OperationView | WorkflowView) -> None: ...


class Quiet(Narrator):
    """Says nothing."""

    def __exit__(self, *_: object) -> None:
        return None

    def submitted(self, id_: str, *, again: bool) -> None:
        return None

    def operation(self, view: OperationView) -> None:
        return None

    def workflow(self, view: WorkflowView) -> None:
        return None

    def ended(self, outcome: Exit, view: OperationView | WorkflowView) -> None:
        return None


class JsonLines(Quiet):
    """One JSON object a line: `event`, `status`, `workflow`, and `end` with the whole document."""

    def __init__(self) -> None:
        self._told: object = None

    def operation(self, view: OperationView) -> None:
        for event in view.progress_events or ():
            self._line("event", {"operationId": view.operation_id, **as_json(event)})
        asked = [as_json(one) for one in view.pending_interactions]
        stand = {
            "operationId": view.operation_id,
            "status": view.status,
            "pendingInteractions": asked,
        }
        if stand != self._told:
            self._told = stand
            self._line("status", stand)

    def workflow(self, view: WorkflowView) -> None:
        self._line("workflow", {"workflowId": view.workflow_id, "phase": view.phase})

    def ended(self, outcome: Exit, view: OperationView | WorkflowView) -> None:
        told = document(view)
        self._line("end", {**told, "ok": outcome is Exit.DONE, "exitCode": int(outcome)})

    def _line(self, kind: str, told: Json) -> None:
        print_json({"type": kind, **presentable(told)})


class Screen(Narrator):
    """Tells it to a console. `reports`: the report is part of what is told."""

    def __init__(self, console: Console, *, reports: bool) -> None:
        self._console = console
        self._reports = reports
        self._view: OperationView | None = None
        self._seen_at = 0.0
        #: What the agent is just saying, and since when.
        self._saying = ""
        self._since: ProgressEvent | None = None
        self._asked: set[str] = set()
        self._live = Live(
            console=console, get_renderable=self._now, transient=True, refresh_per_second=8
        )

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._live.stop()
        self._end_saying()

    def submitted(self, id_: str, *, again: bool) -> None:
        self._console.print(
            Text.assemble((id_, "bold"), ("  goes on" if again else "  handed in", "dim"))
        )

    def operation(self, view: OperationView) -> None:
        self._view, self._seen_at = view, time.monotonic()
        for event in view.progress_events or ():
            self._event(event)
        for asked in view.pending_interactions:
            if asked.interaction_id not in self._asked:
                self._asked.add(asked.interaction_id)
                self._end_saying()
                self._console.print(*question(asked, self._console), sep="\n")
                self._console.print(how_to_answer([asked]))

    def workflow(self, view: WorkflowView) -> None:
        self._end_saying()
        self._console.print(Text(state_name(view.phase), style_of(view.phase)))

    def ended(self, outcome: Exit, view: OperationView | WorkflowView) -> None:
        self._live.stop()
        self._end_saying()
        self._console.print(_closing(view))
        if not self._reports:
            return
        if isinstance(view, WorkflowView) and outcome is Exit.WANTS_SOMEBODY:
            if (proposed := to_judge(view)) is not None:
                self._console.print(*plan(proposed, self._console), sep="\n")
            self._console.print(how_to_decide(view.workflow_id))
        elif view.final_report is not None:
            self._console.print()
            self._console.print(Text(plain(view.final_report.text)))

    # Events

    def _event(self, event: ProgressEvent) -> None:
        if event.category in _SPOKEN:
            self._since = self._since or event
            self._saying += event.text
            # A message's pieces are cut behind white space, and its last one is not.
            if not event.text[-1:].isspace():
                self._end_saying()
            return
        self._end_saying()
        self._print(event, shortened(event.text))

    def _end_saying(self) -> None:
        if self._since is not None:
            self._print(self._since, plain(self._saying).strip())
        self._saying, self._since = "", None

    def _print(self, event: ProgressEvent, text: str) -> None:
        mark, style = MARKS[Category(event.category)]
        head = Text.assemble((f"{local_time(event.at)}  ", "dim"), (f"{mark} ", style))
        margin = "\n" + " " * len(head)
        said = text.removeprefix("$ ") if mark == "$" else text
        self._console.print(head + Text(said.replace("\n", margin), style))

    # What lives

    def _now(self) -> RenderableType:
        view = self._view
        if view is None or view.status in FINAL:
            return Text()
        since = time.monotonic() - self._seen_at
        line = Text.assemble((state_name(view.status), style_of(view.status)))
        if view.started_at is not None:
            line.append(f"  {lasted(max(0.0, time.time() - view.started_at / 1000))}")
        if view.queue_state.reason:
            line.append(f"  {view.queue_state.position}. {plain(view.queue_state.reason)}", "dim")
        quiet = (view.evidence.quiet_for_seconds or 0) + since
        if view.status is Status.RUNNING and quiet >= QUIET_SECONDS:
            line.append(f"  Codex has said nothing for {lasted(quiet)}", "yellow")
        if view.token_usage is not None:
            line.append(f"  {view.token_usage.total:,} tokens", "dim")
        said = [Text(one, "bold") for one in plain(self._saying).split("\n")[-LIVE_LINES:] if one]
        return Group(*said, Spinner("dots", line, style="cyan"))


def _closing(view: OperationView | WorkflowView) -> Text:
    state = view.phase if isinstance(view, WorkflowView) else view.status
    said = Text.assemble(("● ", style_of(state)), (state_name(state), style_of(state)))
    if view.last_error is not None:
        said.append(f"  {plain(view.last_error.code)}: {plain(view.last_error.message)}", "red")
    return said
