"""Claude Code in a home of its own, told of our server by its own command, without any person.

Its model is the scripted one on loopback; whatever else it would ask of the network meets a closed
port.
"""

import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio

from codex_control_plane_mcp.doors.cli.clients import CLIENTS, ByCommand, Name
from tests.clients.installs import command, npm
from tests.clients.outer_codex import entry
from tests.clients.terminal import Terminal, at_a_terminal
from tests.e2e.stage import SOON_SECONDS, Stage, stage_of

#: The version that docs/clients.md tells of.
CLAUDE_CODE = "@anthropic-ai/claude-code@2.1.197"
#: As Claude Code lists our tools to its model.
PREFIX = "mcp__codex-control-plane__"

#: No account: the scripted model takes any key.
_KEY = "no-key-" + "0" * 20
_OFFLINE = {
    "ANTHROPIC_API_KEY": _KEY,
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "DISABLE_TELEMETRY": "1",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "NO_PROXY": "127.0.0.1,localhost",
}


@dataclass(frozen=True)
class ClaudeCode:
    program: str
    stage: Stage
    env: dict[str, str]

    async def prints(self, prompt: str) -> dict[str, Any]:
        """What it says to one prompt, as JSON."""
        done = await anyio.run_process(
            [self.program, "-p", prompt, "--output-format", "json", *_ALLOWED],
            env=self.env,
            cwd=self.stage.project,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    async def handed_over(self) -> str:
        """The operation that its model handed over, once it stands at the hold of that name."""
        with anyio.fail_after(2 * SOON_SECONDS):
            await self.stage.model.arrived("handed-over")
        results = (one for asked in self.stage.model.requests for one in asked.tool_outputs)
        return str(next(json.loads(one)["operationId"] for one in results if "operationId" in one))

    @asynccontextmanager
    async def at_a_terminal(self) -> AsyncIterator[Terminal]:
        """It waits for a prompt."""
        line = [self.program, *_ALLOWED]
        async with at_a_terminal(line, self.env, self.stage.project) as terminal:
            await terminal.shows("? for shortcuts")
            yield terminal


#: The tools of ours need no permission of a person.
_ALLOWED = ("--allowedTools", "mcp__codex-control-plane")


@asynccontextmanager
async def claude_code(**settings: str) -> AsyncIterator[ClaudeCode]:
    """Installed, with our server added; `settings` are variables of its environment."""
    path = npm(CLAUDE_CODE)
    async with stage_of() as stage:
        program = command("claude", path)
        env = {
            **{name: stage.environ[name] for name in ("PATH", "HOME")},
            **_OFFLINE,
            **settings,
            "ANTHROPIC_BASE_URL": stage.model.base_url,
        }
        client = CLIENTS[Name.CLAUDE_CODE]
        assert isinstance(client, ByCommand)
        await anyio.run_process([program, *client.add(entry(stage))], env=env, cwd=stage.root)
        _settle_in(stage)
        yield ClaudeCode(program, stage, env)


def _settle_in(stage: Stage) -> None:
    """What a person has said yes to when they first started it, and in this folder."""
    file = stage.root / ".claude.json"
    said = {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}
    settled = {
        "hasCompletedOnboarding": True,
        "customApiKeyResponses": {"approved": [_KEY[-20:]], "rejected": []},
        "theme": "dark",
        "projects": {str(stage.project): said},
    }
    file.write_text(json.dumps(json.loads(file.read_text()) | settled))
