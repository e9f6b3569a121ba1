"""The tools that say what is wrong, and mend it."""

from typing import Annotated, Any

from pydantic import Field

from codex_control_plane_mcp.desk import views_diagnostics as views
from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.desk.diagnosis.logs import Level, LogQuery, Source
from codex_control_plane_mcp.doors.mcp.arguments import Arguments, given
from codex_control_plane_mcp.doors.mcp.fit import drop_first
from codex_control_plane_mcp.doors.mcp.tool import READS, Shown, Tool


class GetDiagnosticLogs(Arguments):
    source: Source | None = Field(None, description="Default worker")
    operation_id: str | None = None
    call_id: str | None = Field(None, description="callId of a line")
    level: Level | None = Field(None, description="This and above")
    limit: Annotated[int, Field(ge=1, le=200)] | None = None


async def _logs(desk: Desk, wanted: GetDiagnosticLogs, _by: str) -> Shown:
    query = LogQuery(**given(wanted, "source", "operation_id", "call_id", "level", "limit"))
    return Shown((await desk.logs(query),), (drop_first("lines"),))


TOOLS: tuple[Tool[Any], ...] = (
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
