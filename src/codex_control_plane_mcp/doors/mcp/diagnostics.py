"""The tools that say what is wrong, and mend it."""

from typing import Annotated, Any

from pydantic import Field

from codex_control_plane_mcp.desk import views_diagnostics as views
from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.desk.diagnosis.facts import Scope
from codex_control_plane_mcp.desk.diagnosis.logs import Level, LogQuery, Source
from codex_control_plane_mcp.desk.repair import Asked
from codex_control_plane_mcp.doors.mcp.arguments import Arguments, given
from codex_control_plane_mcp.doors.mcp.fit import drop_first, drop_last
from codex_control_plane_mcp.doors.mcp.tool import READS, Hints, Shown, Tool
from codex_control_plane_mcp.model.repair import Action, RepairScope

_Text = Annotated[str, Field(max_length=20_000)]


class GetDiagnosticLogs(Arguments):
    source: Source | None = Field(None, description="Default worker")
    operation_id: str | None = None
    call_id: str | None = Field(None, description="callId of a line")
    level: Level | None = Field(None, description="This and above")
    limit: Annotated[int, Field(ge=1, le=200)] | None = None


class CollectDiagnostics(Arguments):
    operation_id: str | None = None
    workflow_id: str | None = None
    thread_id: str | None = None
    problem_text: _Text | None = None


class AnalyzeIssue(CollectDiagnostics):
    pass


class RepairIssue(Arguments):
    action: Annotated[Action, Field(strict=False)]
    operation_id: str | None = None
    workflow_id: str | None = None
    thread_id: str | None = None
    turn_id: str | None = None
    dry_run: bool | None = Field(None, description="Default true: only say what would change")
    force: bool | None = Field(None, description="Where it costs work")


class RestartAppServer(Arguments):
    force: bool | None = Field(None, description="Also while turns run; they are cut off")


def _scope(wanted: CollectDiagnostics) -> Scope:
    return Scope(**given(wanted, "operation_id", "workflow_id", "thread_id"))


async def _collect(desk: Desk, wanted: CollectDiagnostics, _by: str) -> Shown:
    found = await desk.collect(_scope(wanted), wanted.problem_text or "")
    return Shown((found,), (drop_first("log"), drop_first("timeline"), drop_last("operations")))


async def _analyze(desk: Desk, wanted: AnalyzeIssue, _by: str) -> Shown:
    found = await desk.analyze(_scope(wanted), wanted.problem_text or "")
    return Shown((found,), (drop_last("findings"),))


async def _repair(desk: Desk, wanted: RepairIssue, by: str) -> Shown:
    names = ("operation_id", "workflow_id", "thread_id", "turn_id")
    asked = Asked(
        action=wanted.action,
        by=by,
        scope=RepairScope(**given(wanted, *names)),
        **given(wanted, "dry_run", "force"),
    )
    return Shown((await desk.repair(asked),), (drop_last("changes"),))


async def _restart(desk: Desk, wanted: RestartAppServer, by: str) -> Shown:
    return Shown((await desk.restart_app_server(by, force=wanted.force or False),))


async def _logs(desk: Desk, wanted: GetDiagnosticLogs, _by: str) -> Shown:
    query = LogQuery(**given(wanted, "source", "operation_id", "call_id", "level", "limit"))
    return Shown((await desk.logs(query),), (drop_first("lines"),))


TOOLS: tuple[Tool[Any], ...] = (
    Tool(
        "codex_collect_diagnostics",
        "Facts, timeline and checks for a bug report, of one operation, workflow, thread, or all. "
        "No prompts, answers or secrets in it.",
        CollectDiagnostics,
        (views.DiagnosticsView,),
        READS,
        _collect,
        toolset="diagnose",
        repeatable=True,
    ),
    Tool(
        "codex_analyze_issue",
        "What is wrong, with evidence and the next step. Changes nothing.",
        AnalyzeIssue,
        (views.AnalysisView,),
        READS,
        _analyze,
        toolset="diagnose",
        repeatable=True,
    ),
    Tool(
        "codex_repair_issue",
        "Mend what codex_analyze_issue recommends. First dry, to see what would change.",
        RepairIssue,
        (views.RepairView,),
        Hints(destructive=True),
        _repair,
        toolset="diagnose",
    ),
    Tool(
        "codex_restart_app_server",
        "End Codex's app-server and start another. Refused while turns run, unless forced.",
        RestartAppServer,
        (views.RepairView,),
        Hints(destructive=True),
        _restart,
        toolset="diagnose",
        stable=False,
    ),
    Tool(
        "codex_get_diagnostic_logs",
        "The last lines of the log, secrets masked.",
        GetDiagnosticLogs,
        (views.LogView,),
        READS,
        _logs,
        toolset="diagnose",
        repeatable=True,
    ),
)
