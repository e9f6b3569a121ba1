"""Writes the documents that are drawn from the code; a test says when they are out of date.

make docs
"""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_args

from codex_control_plane_mcp import errors
from codex_control_plane_mcp.doors.mcp import arguments as args
from codex_control_plane_mcp.doors.mcp.tool import Tool
from codex_control_plane_mcp.doors.mcp.tools import CONTRACT_VERSION, TOOLS
from codex_control_plane_mcp.doors.shape import schema_of
from codex_control_plane_mcp.errors import ControlPlaneError
from codex_control_plane_mcp.model.operation import FINAL, TRANSITIONS, Status
from codex_control_plane_mcp.settings import ToolSet

DOCS: Final = Path(__file__).parents[1] / "docs"
_MADE = "<!-- Made by `make docs` from the code. Change the code, then make it again. -->\n"

Json = Mapping[str, Any]

_SETS: Final[Mapping[ToolSet, str]] = {
    "core": "What an agent needs to have work done.",
    "read": "Looks, and changes nothing.",
    "lifecycle": "Threads as a whole, and plans that appeared otherwise.",
    "diagnose": "What is wrong, and mending it.",
    "compat": "The older names; durable operations underneath.",
    "dropin": "The tools of Codex's own former `codex mcp-server`; off by default.",
}


def main() -> None:
    """The script."""
    for name, text in documents().items():
        (DOCS / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"docs/{name}\n")


def documents() -> dict[str, str]:
    """Each document's name, and what it has to say."""
    makers: dict[str, Callable[[], Iterator[str]]] = {
        "API_CONTRACT.md": _api_contract,
        "lifecycle.md": _lifecycle,
    }
    return {name: "\n".join(make()) + "\n" for name, make in makers.items()}


# --- The contract --------------------------------------------------------------------------------


def _api_contract() -> Iterator[str]:
    yield f"{_MADE}\n# The tools, contract version {CONTRACT_VERSION}\n"
    yield "Arguments are snake_case and checked strictly: an unknown one is `INVALID_ARGUMENT`."
    yield "Results are camelCase. Fields may be added; none is renamed or dropped within a version."
    yield "`codex_health_summary` tells `contractVersion` and `toolSurfaceHash`: when the hash"
    yield "changed, read the listing of tools again.\n"
    yield "## Results\n"
    yield "Every tool declares an `outputSchema`, and returns `structuredContent` and the same as"
    yield "compact JSON text, 10,000 characters at most.\n"
    yield '```json\n{"ok": true}\n```\n'
    yield "An error has `isError: true`, also for an unknown tool; `message` says what to do:\n"
    yield '```json\n{"ok": false, "error": {"code": "CODEX_BUSY", "message": "…", "details": {},'
    yield ' "retryable": true, "nextRecommendedAction": "try_again"}}\n```\n'
    yield "A result with `nextRecommendedAction` says in `nextStep` what that means.\n"
    yield "| code | the same call may succeed later |\n|---|---|"
    for code, retryable in sorted(_codes().items()):
        yield f"| `{code}` | {'yes' if retryable else 'no'} |"
    yield "\n## Statuses of an operation\n"
    yield "Under way: " + _listed(status for status in Status if status not in FINAL) + "."
    yield "Final: " + _listed(status for status in Status if status in FINAL) + "."
    yield "How one follows the other is drawn in [lifecycle.md](lifecycle.md).\n"
    for toolset in get_args(ToolSet):
        yield f"## Set `{toolset}`\n"
        yield f"{_SETS[toolset]}\n"
        for tool in TOOLS:
            if tool.toolset == toolset:
                yield from _tool(tool)


def _tool(tool: Tool[Any]) -> Iterator[str]:
    yield f"### `{tool.name}`\n"
    yield f"{tool.description}\n"
    traits = [
        "stable" if tool.stable else "for older clients",
        "reads only" if tool.hints.read_only else "writes",
        *(["may destroy"] if tool.hints.destructive else []),
        *(["may be called again"] if tool.hints.idempotent else []),
    ]
    yield f"*{', '.join(traits)}*\n"
    arguments = args.schema_of(tool.arguments, unlisted=True)
    if properties := arguments.get("properties"):
        yield "| argument | type | |\n|---|---|---|"
        required = arguments.get("required", [])
        for name, schema in properties.items():
            said = schema.get("description", "")
            needed = "**required**" + ("; " if said else "") if name in required else ""
            yield f"| `{name}` | {_type(schema)} | {needed}{said} |"
    else:
        yield "No arguments."
    fields = schema_of(*tool.shows, tacit=True)["properties"]
    yield f"\nReturns {', '.join(f'`{name}`' for name in fields)}.\n"


def _type(schema: Json) -> str:
    if "enum" in schema:
        return " \\| ".join(f"`{value}`" for value in schema["enum"])
    match schema.get("type"):
        case "array":
            most = f", {schema['maxItems']} at most" if "maxItems" in schema else ""
            return f"list of {_type(schema.get('items', {}))}{most}"
        case "object" if "properties" in schema:
            return "object of " + ", ".join(f"`{name}`" for name in schema["properties"])
        case list() as several:
            return " or ".join(several)
        case "integer" | "number" if "maximum" in schema:
            return f"{schema['type']}, {schema['maximum']:g} at most"
        case str() as plain:
            return plain
        case _:
            return "any"


def _codes() -> dict[str, bool]:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    return {
        kind.code: kind.retryable
        for kind in kinds
        if issubclass(kind, ControlPlaneError) and "code" in vars(kind)
    }


def _listed(statuses: Iterator[Status]) -> str:
    return ", ".join(f"`{status}`" for status in statuses)


# --- The life of an operation --------------------------------------------------------------------


def _lifecycle() -> Iterator[str]:
    yield f"{_MADE}\n# The life of an operation\n"
    yield "Drawn from the transition table in `model/operation.py`, through which every change of"
    yield "a state passes. A final state never changes.\n"
    yield "```mermaid\nstateDiagram-v2"
    yield f"    [*] --> {Status.QUEUED}"
    for (before, after), facts in _arrows().items():
        yield f"    {before} --> {after}: {', '.join(facts)}"
    for status in Status:
        if status in FINAL:
            yield f"    {status} --> [*]"
    yield "```\n"
    yield "These facts change no state, and may follow these:\n"
    yield "| fact | what happened | in the states |\n|---|---|---|"
    for fact, (allowed, target) in TRANSITIONS.items():
        if target is None:
            told = (inspect.getdoc(fact) or "").split("\n")[0]
            states = _listed(status for status in Status if status in allowed)
            yield f"| `{fact.__name__}` | {told} | {states} |"


def _arrows() -> dict[tuple[Status, Status], list[str]]:
    """From state to state, by which facts; what leaves the state as it is, is left out."""
    arrows: dict[tuple[Status, Status], list[str]] = {}
    for before in Status:
        for fact, (allowed, after) in TRANSITIONS.items():
            if after is not None and before in allowed and after is not before:
                arrows.setdefault((before, after), []).append(fact.__name__)
    return arrows


if __name__ == "__main__":
    main()
