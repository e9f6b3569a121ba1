"""The table of tools, and what of it is offered. Each group of tools is in a module of its own; one
entry is all there is to a tool, and its handler turns arguments into the desk's words."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from codex_control_plane_mcp import __version__
from codex_control_plane_mcp.desk import views
from codex_control_plane_mcp.desk.desk import Desk
from codex_control_plane_mcp.desk.health import Scope
from codex_control_plane_mcp.doors.mcp import arguments as args
from codex_control_plane_mcp.doors.mcp import (
    chats,
    compat,
    diagnostics,
    dropin,
    inventory,
    queue,
    search,
    tasks,
    threads,
    workflows,
)
from codex_control_plane_mcp.doors.mcp.arguments import given
from codex_control_plane_mcp.doors.mcp.fit import (
    Json,
    compact,
    drop_last,
)
from codex_control_plane_mcp.doors.mcp.tool import READS, Hints, Shown, Tool
from codex_control_plane_mcp.doors.shape import schema_of
from codex_control_plane_mcp.errors import InvalidArgument
from codex_control_plane_mcp.settings import ToolSet

SERVER_NAME = "codex-control-plane-mcp"
CONTRACT_VERSION = "1"


@dataclass(frozen=True, slots=True)
class VersionBlock:
    server_name: str = field(metadata=views.TACIT)
    server_version: str
    contract_version: str = field(metadata=views.TACIT)
    #: Changes when a tool's name, arguments or results do, and when other tools are offered.
    tool_surface_hash: str
    stable_tools: tuple[str, ...] = field(metadata=views.TACIT)
    compatibility_tools: tuple[str, ...] = field(metadata=views.TACIT)


async def _health(desk: Desk, wanted: args.HealthSummary, _by: str) -> Shown:
    scope = Scope(**given(wanted, "operation_id", "workflow_id", "thread_id", "max_recent_errors"))
    version = offered(desk.settings.toolsets).version
    found = await desk.health(scope)
    return Shown((version, found), (drop_last("recentErrors", keep=0), drop_last("hosts")))


_HEALTH: Tool[Any] = Tool(
    "codex_health_summary",
    "Whether all is in order: versions, active work, recent errors. Starts nothing.",
    args.HealthSummary,
    (VersionBlock, views.HealthView),
    READS,
    _health,
    toolset="read",
    repeatable=True,
)

TOOLS: tuple[Tool[Any], ...] = (
    *tasks.TOOLS,
    *workflows.TOOLS,
    _HEALTH,
    *queue.TOOLS,
    *chats.TOOLS,
    *inventory.TOOLS,
    *search.TOOLS,
    *threads.TOOLS,
    *diagnostics.TOOLS,
    *compat.TOOLS,
    *dropin.TOOLS,
)
_BY_NAME = {tool.name: tool for tool in TOOLS}


def is_known(name: str) -> bool:
    """Whether there is a tool of this name, on or off."""
    return name in _BY_NAME


def is_read_only(name: str) -> bool:
    """Whether the tool of this name changes nothing; there may be none of this name."""
    return name in _BY_NAME and _BY_NAME[name].hints.read_only


@dataclass(frozen=True, slots=True)
class Offer:
    """The tools of the sets that are switched on, and what follows from which they are."""

    tools: tuple[Tool[Any], ...]
    #: As MCP lists them.
    definitions: tuple[Json, ...]
    version: VersionBlock
    #: What a pipe may send again when the answer was lost; the latter with a `client_request_id`.
    repeatable: frozenset[str]
    keyed: frozenset[str]

    def find(self, name: str) -> Tool[Any]:
        """Raises InvalidArgument for a tool that there is not, or not here."""
        tool = _BY_NAME.get(name)
        if tool is None:
            raise InvalidArgument(f"there is no tool {name!r}; tools/list shows those there are")
        if tool not in self.tools:
            raise InvalidArgument(
                f"{name} is switched off here: its set, {tool.toolset}, is not among the worker's "
                "CODEX_MCP_TOOLSETS"
            )
        return tool


@cache
def offered(toolsets: tuple[ToolSet, ...]) -> Offer:
    tools = tuple(tool for tool in TOOLS if tool.toolset in toolsets)
    definitions = tuple(_definition(tool) for tool in tools)
    return Offer(
        tools=tools,
        definitions=definitions,
        version=_version_block(tools, definitions),
        repeatable=frozenset(tool.name for tool in tools if tool.repeatable),
        keyed=frozenset(tool.name for tool in tools if tool.keyed),
    )


#: What clients assume where nothing is said.
_GRANTED = {
    "readOnlyHint": False,
    "destructiveHint": True,
    "idempotentHint": False,
    "openWorldHint": True,
}


def _definition(tool: Tool[Any]) -> Json:
    return {
        "name": tool.name,
        "description": tool.description,
        "inputSchema": args.schema_of(tool.arguments),
        "outputSchema": schema_of(*tool.shows, depth=tool.depth),
        "annotations": _annotations(tool.hints),
        **({"_meta": tool.meta} if tool.meta else {}),
    }


def _annotations(hints: Hints) -> Json:
    """What differs from what MCP takes for granted; of a tool that only reads nobody asks more."""
    if hints.read_only:
        return {"readOnlyHint": True}
    stated = {
        "openWorldHint": hints.open_world,
        "destructiveHint": hints.destructive,
        "idempotentHint": hints.idempotent,
    }
    return {name: hint for name, hint in stated.items() if hint is not _GRANTED[name]}


def _version_block(tools: Sequence[Tool[Any]], definitions: Sequence[Json]) -> VersionBlock:
    surface = hashlib.sha256(compact(definitions).encode()).hexdigest()[:16]
    return VersionBlock(
        server_name=SERVER_NAME,
        server_version=__version__,
        contract_version=CONTRACT_VERSION,
        tool_surface_hash=surface,
        stable_tools=tuple(tool.name for tool in tools if tool.stable),
        compatibility_tools=tuple(tool.name for tool in tools if not tool.stable),
    )
