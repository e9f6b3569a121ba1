"""The tools that say what Codex offers here, and whether a task would run."""

from typing import Annotated, Any

from pydantic import Field

from codex_control_plane_mcp.codex.inventory import Wanted
from codex_control_plane_mcp.desk import views_inventory as views
from codex_control_plane_mcp.desk.capabilities import Asked
from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.desk.preflight import Planned
from codex_control_plane_mcp.doors.mcp.arguments import Arguments, given
from codex_control_plane_mcp.doors.mcp.fit import Json, Shorten, drop_last
from codex_control_plane_mcp.doors.mcp.tool import READS, Hints, Shown, Tool
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox


class GetRuntimeCapabilities(Arguments):
    refresh: bool | None = Field(None, description="Ask now, starting Codex if need be")
    cwd: str | None = Field(None, description="Folder whose hooks and skills count too")
    timeout_seconds: Annotated[float, Field(gt=0, le=45)] | None = None
    include_models: bool | None = None
    include_hooks: bool | None = None
    include_skills: bool | None = None
    include_account: bool | None = None


class PreflightProjectRun(Arguments):
    project_id: str | None = None
    cwd: str | None = None
    model: str | None = None
    sandbox: Annotated[Sandbox, Field(strict=False)] | None = None
    approval_policy: Annotated[ApprovalPolicy, Field(strict=False)] | None = None
    live_probe: bool | None = Field(None, description="Also run a tiny turn")


async def _capabilities(desk: Desk, wanted: GetRuntimeCapabilities, _by: str) -> Shown:
    parts = {
        part: getattr(wanted, f"include_{part}") is not False
        for part in ("models", "hooks", "skills", "account")
    }
    asked = Asked(
        wanted=Wanted(cwd=wanted.cwd, **parts), **given(wanted, "refresh", "timeout_seconds")
    )
    return Shown((await desk.capabilities(asked),), _INVENTORY_RULES)


def _within_capabilities(shorten: Shorten) -> Shorten:
    def shorten_there(result: Json, excess: int) -> None:
        shorten(result["runtimeCapabilities"], excess)

    return shorten_there


_INVENTORY_RULES: tuple[Shorten, ...] = (
    _within_capabilities(drop_last("models")),
    _within_capabilities(drop_last("permissionProfiles")),
    drop_last("warnings"),
)


async def _preflight(desk: Desk, wanted: PreflightProjectRun, _by: str) -> Shown:
    planned = Planned(
        project=wanted.project_id,
        **given(wanted, "cwd", "model", "sandbox", "approval_policy", "live_probe"),
    )
    return Shown((await desk.preflight(planned),))


TOOLS: tuple[Tool[Any], ...] = (
    Tool(
        "codex_get_runtime_capabilities",
        "What Codex offers: models, sandbox, login, limits, hooks, skills. Remembered for five "
        "minutes. Starts Codex only with refresh.",
        GetRuntimeCapabilities,
        (views.CapabilitiesView,),
        READS,
        _capabilities,
        toolset="read",
        repeatable=True,
    ),
    Tool(
        "codex_preflight_project_run",
        "Whether a task would run: folder, Codex, login, model, sandbox, queue. Starts Codex, but "
        "no turn unless live_probe is true.",
        PreflightProjectRun,
        (views.PreflightView,),
        Hints(idempotent=True),
        _preflight,
        toolset="read",
        repeatable=True,
    ),
)
