"""The table of tools. Each group of them is in a module of its own; one entry is all there is to
a tool, and its handler turns arguments into the desk's words."""

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Any

from codex_control_plane_mcp import __version__
from codex_control_plane_mcp.desk import views
from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.desk.health import Scope
from codex_control_plane_mcp.doors.mcp import arguments as args
from codex_control_plane_mcp.doors.mcp import tasks, threads
from codex_control_plane_mcp.doors.mcp.arguments import given
from codex_control_plane_mcp.doors.mcp.fit import (
    Json,
    compact,
    drop_last,
)
from codex_control_plane_mcp.doors.mcp.shape import schema_of
from codex_control_plane_mcp.doors.mcp.tool import READS, Shown, Tool

SERVER_NAME = "codex-control-plane-mcp"
CONTRACT_VERSION = "1"


@dataclass(frozen=True, slots=True)
class VersionBlock:
    server_name: str
    server_version: str
    contract_version: str
    #: Changes when a tool's name, arguments or results do.
    tool_surface_hash: str
    stable_tools: tuple[str, ...]
    compatibility_tools: tuple[str, ...]


async def _health(desk: Desk, wanted: args.HealthSummary, _by: str) -> Shown:
    scope = Scope(**given(wanted, "operation_id", "thread_id", "max_recent_errors"))
    return Shown((version_block(), await desk.health(scope)), (drop_last("recentErrors", keep=0),))


_HEALTH: Tool[Any] = Tool(
    "codex_health_summary",
    "Whether everything is in order, versions, active work, recent errors. Starts nothing.",
    args.HealthSummary,
    (VersionBlock, views.HealthView),
    READS,
    _health,
    repeatable=True,
)

TOOLS: tuple[Tool[Any], ...] = (*tasks.TOOLS, *threads.TOOLS, _HEALTH)
BY_NAME: dict[str, Tool[Any]] = {tool.name: tool for tool in TOOLS}
REPEATABLE = frozenset(tool.name for tool in TOOLS if tool.repeatable)
KEYED = frozenset(tool.name for tool in TOOLS if tool.keyed)


@cache
def definitions() -> tuple[Json, ...]:
    """The tools as MCP lists them."""
    return tuple(
        {
            "name": tool.name,
            "description": tool.description,
            "inputSchema": args.schema_of(tool.arguments),
            "outputSchema": schema_of(*tool.shows, depth=tool.depth),
            "annotations": {
                "readOnlyHint": tool.hints.read_only,
                "destructiveHint": tool.hints.destructive,
                "idempotentHint": tool.hints.idempotent,
                "openWorldHint": tool.hints.open_world,
            },
        }
        for tool in TOOLS
    )


@cache
def version_block() -> VersionBlock:
    surface = hashlib.sha256(compact(definitions()).encode()).hexdigest()[:16]
    return VersionBlock(
        server_name=SERVER_NAME,
        server_version=__version__,
        contract_version=CONTRACT_VERSION,
        tool_surface_hash=surface,
        stable_tools=tuple(tool.name for tool in TOOLS if tool.name not in COMPATIBILITY),
        compatibility_tools=tuple(tool.name for tool in TOOLS if tool.name in COMPATIBILITY),
    )


#: Tools of the older surface, kept for clients that know them.
COMPATIBILITY = frozenset({"codex_list_projects"})
