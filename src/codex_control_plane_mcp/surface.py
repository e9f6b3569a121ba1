"""What the pipe can answer while no worker is there: that which the release alone decides.

The handshake, and the lists of tools, prompts and templates, are the same for every client of a
release with the usual tool sets. `surface.json` holds them, made from the worker's own answers by
`make docs`; a test compares. Whatever is out of the ordinary is left to the worker.
"""

# pathlib would cost the pipe more to import than all that it imports from here.
# ruff: noqa: PTH100, PTH118, PTH120, PTH123

from __future__ import annotations

import os

from codex_control_plane_mcp import __version__, paths
from codex_control_plane_mcp.framing import Malformed, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Json = dict[str, Any]

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "surface.json")

TOOLSETS_VARIABLE = "CODEX_MCP_TOOLSETS"
TOOLSETS_KEY = "toolsets"

#: Where a request of the stateless era says who asks, and how.
_VERSION = "io.modelcontextprotocol/protocolVersion"
_CLIENT = "io.modelcontextprotocol/clientInfo"
_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"


class Surface:
    """The answers of one release."""

    __slots__ = ("_stateful", "_stateless", "tools")

    def __init__(self, stored: Mapping[str, Any]) -> None:
        #: The hash of the list of tools.
        self.tools: str = stored["tools"]
        self._stateful: Json = stored["stateful"]
        self._stateless: Json = stored["stateless"]

    def greets(self, params: object) -> bool:
        """Whether the handshake with these parameters is an ordinary one."""
        return (
            isinstance(params, dict)
            and params.get("protocolVersion") in self._stateful["versions"]
            and isinstance(params.get("capabilities"), dict)
            and _is_client(params.get("clientInfo"))
        )

    def answer(self, method: str, params: object, greeting: object) -> Json | None:
        """The result of a request; None for one that only the worker can answer.

        `greeting` is what the client's handshake said, if there was one.
        """
        if method == "initialize":
            if not (self.greets(params) and isinstance(params, dict)):
                return None
            return {**self._stateful[method], "protocolVersion": params["protocolVersion"]}
        if params is None or params == {}:
            lists = self._stateful["lists"]
            return lists.get(method) if self.greets(greeting) else None
        if isinstance(params, dict) and params.keys() == {"_meta"}:
            return self._statelessly(method, params["_meta"])
        return None

    def _statelessly(self, method: str, meta: object) -> Json | None:
        if not (
            isinstance(meta, dict)
            and meta.get(_VERSION) in self._stateless["versions"]
            and isinstance(meta.get(_CAPABILITIES), dict)
            and _is_client(meta.get(_CLIENT))
        ):
            return None
        if method in self._stateless:
            found: Json = self._stateless[method]
            return found
        listed = self._stateful["lists"].get(method)
        return None if listed is None else {**listed, **self._stateless["with_each_list"]}


def load(environ: Mapping[str, str]) -> Surface | None:
    """The answers of this release; None where the settings name other tools, or where the file is
    another release's, installed since we started."""
    try:
        if environ.get(TOOLSETS_VARIABLE, "").strip() or TOOLSETS_KEY in paths.stored(environ):
            return None
        with open(FILE, "rb") as file:
            stored = parse(file.read())
    except (OSError, paths.PathError, Malformed):
        return None
    return Surface(stored) if stored["release"] == __version__ else None


def _is_client(info: object) -> bool:
    return (
        isinstance(info, dict)
        and isinstance(info.get("name"), str)
        and isinstance(info.get("version"), str)
    )
