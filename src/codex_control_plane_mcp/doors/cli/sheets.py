"""How tasks, questions and plans look at a terminal; every text in them goes through `words`."""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import PurePath
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from codex_control_plane_mcp.clock import Moment, seconds_between
from codex_control_plane_mcp.desk.views import (
    InteractionView,
    LastError,
    OperationView,
    ProgressEvent,
)
from codex_control_plane_mcp.desk.views_fleet import HostLine
from codex_control_plane_mcp.desk.views_roll import Roll, RollLine, UndecidedLine, Wanted
from codex_control_plane_mcp.desk.workflows.views import PlanView, WorkflowView
from codex_control_plane_mcp.doors.cli.room import to_judge
from codex_control_plane_mcp.doors.cli.speaking import PROGRAM
from codex_control_plane_mcp.doors.cli.words import (
    MARKS,
    at_home,
    lasted,
    local_date,
    local_time,
    one_line,
    plain,
    state_name,
    style_of,
)
from codex_control_plane_mcp.model.interaction import Kind
from codex_control_plane_mcp.model.journal import Category
from codex_control_plane_mcp.model.operation import FINAL, Status

#: Silence is worth a word from here on.
QUIET_SECONDS: Final = 60.0
#: Of one entry, so many lines are shown; `show --json` and `logs` have them all.
ENTRY_LINES: Final = 12

# --- All at once ---------------------------------------------------------------------------------


def roll_table(roll: Roll, now: Moment) -> RenderableType:
    """What there is, most urgent first; in a fleet its hosts below."""
    away = None
    if roll.hosts is not None:
        away = frozenset(host.host for host in roll.hosts if not host.present)
    table = _columns("ID", "STATE", "AGE", "IN", *([] if away is None else ["HOST"]))
    table.add_column("TASK", overflow="fold", ratio=1)
    for undecided in roll.undecided:
        table.add_row(*_undecided_row(undecided, now, away))
    for line in (*roll.active, *roll.queued, *roll.ended):
        table.add_row(*_row(line, now, away))
    hosts = [] if roll.hosts is None else [Text(), hosts_table(roll.hosts, now)]
    return Group(table, *hosts, Text(), _count(roll))


def is_empty(roll: Roll) -> bool:
    return not (roll.undecided or roll.active or roll.queued or roll.ended)


def _columns(*names: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", expand=False)
    for name in names:
        table.add_column(name, no_wrap=True, justify="right" if name in _NUMBERS else "left")
    return table


_NUMBERS: Final = frozenset({"AGE", "TURNS", "WAITING"})


def _row(line: RollLine, now: Moment, away: Collection[str] | None) -> tuple[Text, ...]:
    since = line.completed_at or line.started_at or line.created_at
    is_lost = line.status not in FINAL and line.host in (away or ())
    gone = f"its host {line.host} is not connected" if is_lost else None
    return (
        Text(line.operation_id, "dim" if line.status in FINAL else ""),
        Text(state_name(line.status), style_of(line.status)),
        Text(lasted(seconds_between(since, now)), "dim"),
        Text(one_line(PurePath(line.cwd).name)),
        *([] if away is None else [Text(line.host or "", "bold red" if is_lost else "")]),
        _with_note(line.title, gone or _note(line), "red" if gone or line.last_error else "yellow"),
    )


def _undecided_row(
    line: UndecidedLine, now: Moment, away: Collection[str] | None
) -> tuple[Text, ...]:
    return (
        Text(line.workflow_id),
        Text(state_name(line.phase), style_of(line.phase)),
        Text(lasted(seconds_between(line.updated_at, now)), "dim"),
        Text(one_line(PurePath(line.cwd).name)),
        *([] if away is None else [Text()]),
        _with_note(line.title, "a plan waits for a decision", "yellow"),
    )


def hosts_table(hosts: Sequence[HostLine], now: Moment) -> RenderableType:
    """The hosts of a fleet: who is there, what each has in hand, and what waits for it alone."""
    table = _columns("HOST", "STATE", "AGE", "TURNS", "WAITING", "CODEX", "WORKER")
    for host in hosts:
        is_full = host.active_turn_count >= host.capacity
        lost = "bold red" if host.is_missed else "red"
        table.add_row(
            Text(host.host),
            Text("present", "green") if host.present else Text("away", lost),
            Text("" if host.present else lasted(seconds_between(host.seen_at, now)), "dim"),
            Text(f"{host.active_turn_count} of {host.capacity}", "yellow" if is_full else ""),
            Text(str(host.queued_count or ""), "" if host.present else lost),
            Text(one_line(host.codex_version or "unknown")),
            Text(one_line(host.worker_version or "")),
        )
    return table


def _with_note(title: str, note: str | None, style: str) -> Text:
    shown = Text(one_line(title))
    return shown if note is None else Text.assemble(shown, "\n", (one_line(note), style))


def _note(line: RollLine) -> str | None:
    """What somebody should know of it."""
    if line.last_error is not None:
        return f"{line.last_error.code}: {line.last_error.message}"
    if line.pending_interaction_count:
        asked = line.pending_interaction_count
        return f"{asked} {'question waits' if asked == 1 else 'questions wait'} for an answer"
    if line.queue_state.state == "queued":
        return f"{line.queue_state.position}. in the queue: {line.queue_state.reason}"
    if line.status is Status.RUNNING and (line.quiet_for_seconds or 0) >= QUIET_SECONDS:
        return f"Codex has said nothing for {lasted(line.quiet_for_seconds or 0)}"
    return None


def _count(roll: Roll) -> Text:
    asked = sum(line.pending_interaction_count for line in roll.active)
    parts = [f"{roll.active_count} at work", f"{roll.queued_count} in the queue"]
    waiting = asked + len(roll.undecided)
    style = "yellow" if waiting else "dim"
    return Text.assemble((f"{', '.join(parts)}, ", "dim"), (f"{waiting} for you to decide", style))


# --- One task ------------------------------------------------------------------------------------


def operation_sheet(
    view: OperationView, wanted: Wanted, now: Moment, console: Console
) -> RenderableType:
    rows = _rows(
        ("task", Text(one_line(wanted.title), "bold")),
        ("id", Text(view.operation_id)),
        ("state", _state(view, now)),
        ("folder", Text(at_home(view.cwd))),
        ("key", _maybe(view.client_request_id)),
        ("workflow", _maybe(view.workflow_id)),
        ("thread", _maybe(view.thread_id)),
        ("host", _host(view)),
        ("runs with", _how(wanted)),
        ("worktree", _worktree(view)),
        ("submitted", Text(local_date(view.created_at))),
        ("started", _date(view.started_at)),
        ("ended", _date(view.completed_at)),
        ("tokens", Text(f"{view.token_usage.total:,}") if view.token_usage else None),
        ("error", _error(view.last_error)),
    )
    parts: list[RenderableType] = [rows, *_section("asked for", Text(plain(wanted.message)))]
    if view.progress_events:
        parts += _section("happened last", event_lines(view.progress_events))
    parts += [part for asked in view.pending_interactions for part in question(asked, console)]
    if view.final_report is not None:
        parts += _section("report", Text(plain(view.final_report.text)))
    return Group(*parts)


def workflow_sheet(
    view: WorkflowView, wanted: Wanted, now: Moment, console: Console
) -> RenderableType:
    rows = _rows(
        ("workflow", Text(one_line(wanted.title), "bold")),
        ("id", Text(view.workflow_id)),
        ("phase", Text(state_name(view.phase), style_of(view.phase))),
        ("folder", Text(at_home(view.cwd))),
        ("key", _maybe(view.client_request_id)),
        ("thread", _maybe(view.thread_id)),
        ("runs with", _how(wanted)),
        ("planning", _maybe(view.plan_operation_id)),
        ("execution", _maybe(view.execution_operation_id)),
        ("review", _maybe(view.review_operation_id)),
        ("approved", Text(f"by {plain(view.approval.by)}") if view.approval else None),
        ("submitted", Text(local_date(view.created_at))),
        ("error", _error(view.last_error)),
    )
    parts: list[RenderableType] = [rows, *_section("asked for", Text(plain(wanted.message)))]
    if (proposed := to_judge(view)) is not None:
        parts += plan(proposed, console)
    parts += [part for asked in view.pending_interactions for part in question(asked, console)]
    if view.final_report is not None:
        parts += _section("report", Text(plain(view.final_report.text)))
    return Group(*parts)


def _state(view: OperationView, now: Moment) -> Text:
    said = Text.assemble((state_name(view.status), style_of(view.status)))
    if view.status in FINAL and view.started_at and view.completed_at:
        said.append(f"  after {lasted(seconds_between(view.started_at, view.completed_at))}", "dim")
    elif view.started_at:
        said.append(f"  for {lasted(seconds_between(view.started_at, now))}", "dim")
    if view.queue_state.reason:
        said.append(f"  {view.queue_state.position}. {plain(view.queue_state.reason)}", "dim")
    quiet = view.evidence.quiet_for_seconds or 0
    if view.status is Status.RUNNING and quiet >= QUIET_SECONDS:
        said.append(f"  Codex has said nothing for {lasted(quiet)}", "yellow")
    return said


def _host(view: OperationView) -> Text | None:
    """Where a fleet has it, and whether that is out of reach."""
    if view.evidence.owner is None:
        return _maybe(view.evidence.host)
    return Text(f"{view.evidence.host} is not connected; the turn may go on there", "red")


def _how(wanted: Wanted) -> Text | None:
    told = [one for one in (wanted.sandbox, wanted.approval_policy, wanted.model) if one]
    return Text(plain(", ".join(told))) if told else None


def _worktree(view: OperationView) -> Text | None:
    tree = view.worktree
    if tree is None:
        return None
    return Text(plain(f"{tree.state}  {tree.branch or ''}  {tree.path or ''}".rstrip()))


def _error(error: LastError | None) -> Text | None:
    return None if error is None else Text(plain(f"{error.code}: {error.message}"), "red")


def _maybe(text: str | None) -> Text | None:
    return None if text is None else Text(plain(text))


def _date(moment: Moment | None) -> Text | None:
    return None if moment is None else Text(local_date(moment))


# --- Events --------------------------------------------------------------------------------------


def event_lines(events: Iterable[ProgressEvent]) -> RenderableType:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for event in events:
        mark, style = MARKS[Category(event.category)]
        text = event.text.removeprefix("$ ") if mark == "$" else event.text
        table.add_row(local_time(event.at), Text(mark, style), Text(shortened(text), style))
    return table


def shortened(text: str) -> str:
    """The first lines of an entry: commands may print thousands."""
    lines = plain(text).rstrip("\n").split("\n")
    if len(lines) <= ENTRY_LINES:
        return "\n".join(lines)
    left = len(lines) - ENTRY_LINES
    return "\n".join([*lines[:ENTRY_LINES], f"… {left} more lines"])


# --- What wants somebody -------------------------------------------------------------------------


def question(asked: InteractionView, console: Console) -> Iterator[RenderableType]:
    """A question with all that is needed to judge it, to the letter."""
    rows = _rows(
        ("id", Text(asked.interaction_id)),
        ("task", Text(asked.operation_id)),
        ("asks", Text(plain(asked.prompt), "bold")),
        ("command", Text(plain(asked.command), "bold") if asked.command is not None else None),
        ("folder", Text(plain(asked.cwd)) if asked.cwd is not None else None),
        ("reason", _maybe(asked.reason)),
        ("risk", Text(plain(asked.risk_summary), "yellow") if asked.risk_summary else None),
        *(("details", Text(line)) for line in _details(asked)),
        *((f"[{one.id}]", _options(asked, number)) for number, one in enumerate(asked.questions)),
        (
            "decisions",
            Text(", ".join(decision_names(asked))) if asked.available_decisions else None,
        ),
        ("until", _date(asked.expires_at)),
    )
    yield Text()
    yield framed(rows, state_name(asked.kind), "yellow", console)


def decision_names(asked: InteractionView) -> list[str]:
    """What can be decided; what is more than a name, as JSON."""
    return [
        plain(one if isinstance(one, str) else json.dumps(one, ensure_ascii=False))
        for one in asked.available_decisions
    ]


def _options(asked: InteractionView, number: int) -> Text:
    wanted = asked.questions[number]
    said = Text(plain(wanted.question), "bold")
    for place, option in enumerate(wanted.options, 1):
        said.append(f"\n{place}. {plain(option.label)}", "")
        if option.description:
            said.append(f"  {plain(option.description)}", "dim")
    return said


def _details(asked: InteractionView) -> list[str]:
    if not asked.details:
        return []
    if asked.kind is Kind.ELICITATION and set(asked.details) <= {"requestedSchema", "mode"}:
        return []  # its form is asked for field by field
    return [plain(json.dumps(asked.details, ensure_ascii=False, indent=2))]


def how_to_answer(asked: Sequence[InteractionView]) -> Text:
    first = asked[0].interaction_id
    return Text.assemble(("answer with  ", "dim"), f"{PROGRAM} answer {first}")


def plan(proposed: PlanView, console: Console) -> Iterator[RenderableType]:
    """A plan as a whole, and the hash that names it. To the letter: Markdown that is drawn hides
    what stands in its comments, and whoever carries the plan out reads those."""
    yield Text()
    yield framed(Text(plain(proposed.markdown)), "plan", "yellow", console)
    yield _rows(
        ("plan hash", Text(proposed.plan_hash)),
        ("", None if proposed.valid else Text("this plan cannot be approved now", "yellow")),
    )


def how_to_decide(workflow_id: str) -> Text:
    return Text.assemble(("decide with  ", "dim"), f"{PROGRAM} approve {workflow_id}")


# --- Parts ---------------------------------------------------------------------------------------


def framed(inside: RenderableType, title: str, style: str, console: Console) -> RenderableType:
    """In a frame at a terminal; elsewhere below a heading, which is easier to search."""
    if console.is_terminal:
        return Panel(inside, title=title, title_align="left", border_style=style, padding=(0, 1))
    return Group(Text(f"{title}:"), Padding(inside, (0, 0, 0, 2), expand=False))


def _section(title: str, inside: RenderableType) -> list[RenderableType]:
    if isinstance(inside, Text) and not inside.plain:
        return []
    return [Text(), Text(title, "dim"), Padding(inside, (0, 0, 0, 2), expand=False)]


def _rows(*rows: tuple[str, Text | None]) -> Table:
    """Names and values; what has no value is left out."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        if value is not None:
            table.add_row(name, value)
    return table
