"""The scripted model: a small local model provider for the real Codex, driven by a readable script.

Demo, tests and benchmarks run the real `codex app-server` against it, without account or network.
It stands alone: it imports nothing else of this package, and the product never imports it.
"""

from codex_control_plane_mcp.scripted_model.home import write_codex_home
from codex_control_plane_mcp.scripted_model.script import (
    Playbook,
    Rule,
    Script,
    ScriptError,
    find,
    parse,
    playbook,
    write,
)
from codex_control_plane_mcp.scripted_model.server import (
    Moment,
    RecordedRequest,
    ScriptedModel,
    serving,
    serving_in_thread,
)

__all__ = [
    "Moment",
    "Playbook",
    "RecordedRequest",
    "Rule",
    "Script",
    "ScriptError",
    "ScriptedModel",
    "find",
    "parse",
    "playbook",
    "serving",
    "serving_in_thread",
    "write",
    "write_codex_home",
]
