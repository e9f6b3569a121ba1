"""Everything that somebody needs who is to say what is wrong, of a size that can be pasted.

Nothing in it says what was asked, answered, run or written; secrets are masked where results are
made, and home folders here.
"""

import platform
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from codex_control_plane_mcp import __version__
from codex_control_plane_mcp.clock import seconds_between
from codex_control_plane_mcp.desk.diagnosis.analysis import next_action, next_step, shown
from codex_control_plane_mcp.desk.diagnosis.facts import Facts
from codex_control_plane_mcp.desk.diagnosis.rules import Category as Wrong
from codex_control_plane_mcp.desk.diagnosis.rules import Confidence, Finding, analyze
from codex_control_plane_mcp.desk.texts import start_of
from codex_control_plane_mcp.desk.views_diagnostics import (
    DiagnosticsView,
    FindingView,
    LogLine,
    OperationBrief,
    TimelineEvent,
    Versions,
)
from codex_control_plane_mcp.desk.views_inventory import Check
from codex_control_plane_mcp.model.interaction import Interaction
from codex_control_plane_mcp.model.journal import Category, Written
from codex_control_plane_mcp.model.operation import Operation
from codex_control_plane_mcp.model.repair import RepairRun
from codex_control_plane_mcp.model.request import sandbox_of
from codex_control_plane_mcp.store import interactions, journal, repairs
from codex_control_plane_mcp.store.book import Reading

#: Of a long timeline the beginning and the end are shown.
FIRST_EVENTS, LAST_EVENTS = 10, 30
MAX_EVENT_CHARS = 200
#: Warnings of the log that are shown.
LOG_LINES = 10
#: Findings that are shown; the analysis has more.
FINDINGS = 5
#: The last repairs, whatever they were of: they may have changed what is looked at.
REPAIRS = 5
#: Operations that are shown in short.
OPERATIONS = 5

#: What the journal says of an operation's course. The rest is what was said and done in it.
_COURSE = (Category.STATE, Category.NOTICE, Category.ERROR, Category.GAP)


def timeline(reading: Reading, found: Sequence[Operation]) -> list[TimelineEvent]:
    """What became of some operations, from their submission to their end, oldest first."""
    events = [event for one in found for event in _of_operation(reading, one)]
    events += [_of_repair(run) for run in repairs.newest(reading, REPAIRS)]
    return _with_pauses(_shortened(sorted(events, key=lambda event: event.at)))


def _of_operation(reading: Reading, operation: Operation) -> Iterator[TimelineEvent]:
    for entry in journal.chronicle(reading, operation.id, _COURSE):
        yield _event(entry, operation)
    asked = interactions.listed(
        reading,
        interactions.Search(status=None, operation_id=operation.id),
        behind=None,
        limit=LAST_EVENTS,
    )
    for one in asked:
        yield from _of_interaction(one)


def _event(entry: Written, operation: Operation) -> TimelineEvent:
    text = start_of(entry.text, MAX_EVENT_CHARS)[0]
    return TimelineEvent(entry.at, "operation", text, operation.id)


def _of_interaction(one: Interaction) -> Iterator[TimelineEvent]:
    about = f"{one.asked.kind} {one.id}"
    yield TimelineEvent(one.created_at, "interaction", f"{about} opened", one.operation_id)
    if one.closed_at is not None:
        by = "" if one.answered_by is None else f" by {one.answered_by}"
        yield TimelineEvent(
            one.closed_at, "interaction", f"{about} {one.status}{by}", one.operation_id
        )


def _of_repair(run: RepairRun) -> TimelineEvent:
    how = "dry run" if run.dry_run else "run"
    text = f"{how} {run.id} of {run.action}: {run.outcome or 'running'}"
    return TimelineEvent(run.created_at, "repair", text, run.scope.operation_id)


def _shortened(events: list[TimelineEvent]) -> list[TimelineEvent]:
    left_out = len(events) - FIRST_EVENTS - LAST_EVENTS
    if left_out <= 1:
        return events
    first, last = events[:FIRST_EVENTS], events[-LAST_EVENTS:]
    return [*first, TimelineEvent(last[0].at, "operation", f"({left_out} events left out)"), *last]


def _with_pauses(events: list[TimelineEvent]) -> list[TimelineEvent]:
    return events[:1] + [
        replace(event, after_seconds=seconds_between(before.at, event.at))
        for before, event in pairwise(events)
    ]


def brief(reading: Reading, operation: Operation) -> OperationBrief:
    """An operation without a word of what was asked or said in it."""
    entries = Counter(
        entry.category.value for entry in journal.after(reading, operation.id, 0, 5_000)
    )
    report = operation.report
    return OperationBrief(
        operation_id=operation.id,
        operation_type=operation.request.type,
        status=operation.status,
        thread_id=operation.thread_id,
        turn_id=operation.turn_id,
        sandbox=sandbox_of(operation.request),
        prompt_chars=len(operation.request.message),
        report_chars=None if report is None else len(report.text),
        entries=dict(entries),
    )


def collection(
    facts: Facts,
    events: Sequence[TimelineEvent],
    briefs: Sequence[OperationBrief],
    overall_status: str,
) -> DiagnosticsView:
    found = analyze(facts)
    home = _Home()
    return DiagnosticsView(
        overall_status=overall_status,
        diagnosis_confidence=found[0].confidence if found else "none",
        generated_at=facts.now,
        versions=Versions(
            server=__version__,
            codex=facts.codex.version,
            app_server=facts.app_server.version,
            python=platform.python_version(),
            platform=f"{sys.platform} {platform.machine()}",
        ),
        operations=tuple(briefs),
        timeline=tuple(replace(one, text=home.hidden(one.text)) for one in events),
        checks=tuple(map(home.hidden_in_check, checks(facts, found))),
        findings=tuple(home.hidden_in(shown(one)) for one in found[:FINDINGS]),
        log=tuple(home.hidden_in_line(one) for one in facts.log[-LOG_LINES:]),
        next_recommended_action=next_action(found),
        next_step=home.hidden(next_step(found)),
    )


class _Home:
    """The person's name is in the paths of their home folder, and nowhere else."""

    def __init__(self) -> None:
        self._home = str(Path.home())

    def hidden(self, text: str) -> str:
        return text.replace(self._home, "~") if len(self._home) > 1 else text

    def hidden_in(self, finding: FindingView) -> FindingView:
        return replace(
            finding,
            evidence=tuple(map(self.hidden, finding.evidence)),
            next_step=self.hidden(finding.next_step),
        )

    def hidden_in_check(self, check: Check) -> Check:
        advice = check.advice and self.hidden(check.advice)
        return replace(check, message=self.hidden(check.message), advice=advice)

    def hidden_in_line(self, line: LogLine) -> LogLine:
        told = {
            key: self.hidden(value) if isinstance(value, str) else value
            for key, value in (line.told or {}).items()
        }
        return replace(line, message=self.hidden(line.message), told=told)


# --- Checks --------------------------------------------------------------------------------------


def checks(facts: Facts, found: Sequence[Finding]) -> Iterator[Check]:
    """Each part in a line: is it as it should be? Whether it is, the findings say."""
    known = {one.category: one for one in reversed(found) if one.confidence is not Confidence.LOW}
    for name, categories, well in (
        ("disk", ("disk_full", "state_unwritable"), _disk(facts)),
        ("clock", ("clock_skew",), "it has not stepped back"),
        ("roots", ("no_roots", "path_missing"), f"{len(facts.around.roots)}, all there"),
        ("codex", _CODEX, f"Codex {facts.codex.version or ''} is installed"),
        ("app_server", ("app_server_gone", "app_server_unreachable"), _app_server(facts)),
        ("login", ("auth_missing",), _login(facts)),
        ("sandbox", ("sandbox_not_ready",), "nothing speaks against it"),
        ("hooks", ("hooks_waiting",), _hooks(facts)),
        ("queue", ("queue_waiting", "no_host"), _queue(facts)),
        ("worker", ("stale_operation",), _worker(facts)),
    ):
        wrong = next((known[Wrong(one)] for one in categories if Wrong(one) in known), None)
        if wrong is None:
            yield Check(name, "unknown" if well is None else "ok", well or "not asked")
        else:
            is_failure = wrong.confidence is Confidence.HIGH and wrong.category not in _NORMAL
            status = "failed" if is_failure else "warning"
            yield Check(name, status, wrong.summary, wrong.next_step)


_CODEX = ("codex_missing", "codex_too_old", "codex_too_new", "codex_unfit")
#: Sure, and nothing is broken.
_NORMAL = frozenset({Wrong.QUEUE_WAITING})


def _disk(facts: Facts) -> str:
    free = facts.around.disk.free_bytes
    return "free space is not known" if free is None else f"{free // 1_000_000:,} MB are free"


def _app_server(facts: Facts) -> str:
    state = facts.app_server
    if not state.running:
        return "none runs; the first task starts one"
    return f"pid {state.pid} runs{'' if state.connected else ', and nobody is connected to it'}"


def _login(facts: Facts) -> str | None:
    account = facts.capabilities and facts.capabilities.account_status
    if not account:
        return None
    return "logged in" if account.logged_in else "the model provider needs no OpenAI login"


def _queue(facts: Facts) -> str:
    books = facts.books
    return f"{books.queued} wait, {books.active} of {facts.limits.everywhere} turns run"


def _hooks(facts: Facts) -> str:
    hooks = facts.around.hooks
    if not hooks.installed:
        return "not installed; only turns of this server are known"
    return "installed" if hooks.enabled else "installed, and what they tell is thrown away"


def _worker(facts: Facts) -> str | None:
    worker = facts.books.worker
    if worker is None:
        return None
    quiet = seconds_between(worker.heartbeat_at, facts.now)
    return f"generation {worker.generation}, pid {worker.pid}, heard {quiet:.0f} s ago"
