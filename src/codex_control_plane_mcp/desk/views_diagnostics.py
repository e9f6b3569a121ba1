"""What the desk shows of what is wrong, of the log, and of repairs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.desk.views import OPTIONAL, TACIT
from codex_control_plane_mcp.desk.views_inventory import Check


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of the log. What is not of the worker's log has a message only."""

    at: str | None
    level: str | None
    message: str
    call_id: str | None = field(default=None, metadata=OPTIONAL)
    operation_id: str | None = field(default=None, metadata=OPTIONAL)
    #: Whatever else was told with it.
    told: Mapping[str, object] | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True)
class LogView:
    #: `worker` or `app_server`.
    source: str
    path: str
    #: Oldest first.
    lines: tuple[LogLine, ...]
    #: Whether the file was read to its beginning.
    complete: bool = field(metadata=TACIT)


@dataclass(frozen=True, slots=True)
class FindingView:
    """Something that is wrong."""

    category: str
    #: `high`: a fact says so; `medium`: what is known fits; `low`: it may be.
    confidence: str
    summary: str
    evidence: tuple[str, ...]
    next_step: str
    operation_id: str | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True)
class RootCause:
    category: str
    confidence: str
    summary: str


@dataclass(frozen=True, slots=True)
class RepairAdvice:
    """A repair that may help, as `codex_repair_issue` takes it."""

    action: str
    #: What it is to be applied to.
    arguments: Mapping[str, object]
    why: str
    #: Whether it costs work, and so needs `force`.
    needs_force: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisView:
    #: Null: nothing is known to be wrong.
    likely_root_cause: RootCause | None
    #: The surest first.
    findings: tuple[FindingView, ...]
    recommended_repair_actions: tuple[RepairAdvice, ...]
    next_recommended_action: str = field(metadata=TACIT)
    #: What to do now, of the first finding.
    next_step: str = field(metadata=TACIT)


@dataclass(frozen=True, slots=True)
class TimelineEvent:
    at: Moment
    #: `operation`, `interaction` or `repair`.
    source: str
    text: str
    operation_id: str | None = field(default=None, metadata=OPTIONAL)
    #: Since the event before.
    after_seconds: float | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True)
class Versions:
    server: str
    codex: str | None
    app_server: str | None
    python: str
    platform: str


@dataclass(frozen=True, slots=True)
class OperationBrief:
    """An operation without a word of what was asked or said in it."""

    operation_id: str
    operation_type: str
    status: str
    thread_id: str | None
    turn_id: str | None
    sandbox: str
    prompt_chars: int
    report_chars: int | None
    #: How many entries the journal has of each kind.
    entries: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagnosticsView:
    """Everything for a bug report: no prompts, answers, commands, secrets or home folders."""

    overall_status: str
    #: How sure the first finding is; `none` where there is none.
    diagnosis_confidence: str
    generated_at: Moment = field(metadata=TACIT)
    versions: Versions = field(metadata=TACIT)
    operations: tuple[OperationBrief, ...] = field(metadata=TACIT)
    #: Oldest first; of a long one the beginning and the end.
    timeline: tuple[TimelineEvent, ...]
    checks: tuple[Check, ...]
    findings: tuple[FindingView, ...]
    #: The last warnings of the log.
    log: tuple[LogLine, ...] = field(metadata=TACIT)
    next_recommended_action: str = field(metadata=TACIT)
    next_step: str = field(metadata=TACIT)


@dataclass(frozen=True, slots=True)
class ChangeView:
    """One thing that a repair changes, or would."""

    #: operation, workflow, interaction, app_server, search_index, file, ...
    kind: str
    name: str
    change: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairView:
    repair_run_id: str
    action: str = field(metadata=TACIT)
    dry_run: bool
    #: `planned`, `applied`, `nothing_to_do`, `refused`, `failed`, `unknown` or `running`.
    outcome: str
    changed: bool
    #: What was changed; of a dry run, what would be.
    changes: tuple[ChangeView, ...]
    change_count: int = field(metadata=TACIT)
    #: What came of it; of a dry run, what it costs, or why it would be refused.
    result: str | None
    next_recommended_action: str = field(metadata=TACIT)


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairSheet:
    """A run of a repair, as people look at it."""

    view: RepairView
    #: What it is applied to, by the names that a repair takes; empty: the whole.
    scope: Mapping[str, str]
    #: Whether it was asked for though it costs work.
    force: bool
    made_by: str
    created_at: Moment
    #: Whether it is a plan that somebody may have carried out.
    can_be_carried_out: bool
