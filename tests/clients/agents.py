"""Hermes and OpenClaw in a home of their own, told of our server by `init`, without any person.

Their model is a scripted one on loopback, and so is that of the Codex behind the server. Whatever
else they would ask of the network meets a closed port.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from codex_control_plane_mcp.scripted_model import (
    ScriptedModel,
    serving_in_thread,
    write_codex_home,
)
from tests.cli.commands import ADMIN, environment, processes_of
from tests.cli.commands import command as python
from tests.clients.installs import HERMES, OPENCLAW, command, npm, pip
from tests.installing import run

_OFFLINE = {
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9"),
    "NO_PROXY": "127.0.0.1,localhost",
    "NODE_USE_ENV_PROXY": "1",
    "OPENCLAW_NO_AUTO_UPDATE": "1",
}


@dataclass(frozen=True)
class Kind:
    """What is a client's own."""

    name: str
    install: Callable[[], str]
    #: Its settings, to be written before `init` adds the server: the file, and what is in it for a
    #: model at this address.
    settings: Callable[[str], tuple[str, Mapping[str, object]]]
    #: One turn, for a prompt to follow.
    turn: tuple[str, ...]
    #: The step of a script that calls a tool of ours.
    call: Callable[[str, Mapping[str, object]], str]
    #: Its settings, once `init` has added the server, with so many seconds for each call.
    hurried: Callable[[str, int], str]


def _hermes_settings(model: str) -> tuple[str, Mapping[str, object]]:
    chosen = {"provider": "custom", "base_url": model, "default": "scripted", "api_key": "none"}
    return ".hermes/config.yaml", {"model": chosen}


def _hermes_call(tool: str, arguments: Mapping[str, object]) -> str:
    return f"call mcp__codex_control_plane__{tool} {json.dumps(arguments)}"


def _hermes_hurried(settings: str, seconds: int) -> str:
    # YAML with comments; the server is the last but them.
    return settings.replace("    enabled: true", f"    enabled: true\n    timeout: {seconds}")


def _openclaw_settings(model: str) -> tuple[str, Mapping[str, object]]:
    scripted = {"id": "scripted", "name": "Scripted", "contextWindow": 272_000, "maxTokens": 32_000}
    provider = {"baseUrl": model, "apiKey": "none", "api": "openai-completions"}
    chosen = {"model": {"primary": "scripted/scripted"}, "skipBootstrap": True}
    return ".openclaw/openclaw.json", {
        "models": {
            "mode": "replace",
            "providers": {"scripted": {**provider, "models": [scripted]}},
        },
        "agents": {"defaults": chosen},
        "update": {"checkOnStart": False},
        "telemetry": {"enabled": False},
    }


def _openclaw_call(tool: str, arguments: Mapping[str, object]) -> str:
    # By itself it keeps the tools of servers behind a search, and calls them by this one.
    named = {"id": f"codex-control-plane__{tool}", "args": arguments}
    return f"call tool_call {json.dumps(named)}"


def _openclaw_hurried(settings: str, seconds: int) -> str:
    settled = json.loads(settings)
    settled["mcp"]["servers"]["codex-control-plane"]["requestTimeoutMs"] = seconds * 1000
    return json.dumps(settled)


KINDS = (
    Kind(
        "hermes",
        lambda: pip(HERMES),
        _hermes_settings,
        ("hermes", "chat", "--quiet", "--query"),
        _hermes_call,
        _hermes_hurried,
    ),
    Kind(
        "openclaw",
        lambda: npm(OPENCLAW),
        _openclaw_settings,
        ("openclaw", "agent", "--local", "--agent", "main", "--message"),
        _openclaw_call,
        _openclaw_hurried,
    ),
)


@dataclass(frozen=True)
class Agent:
    """A client that has the server."""

    kind: Kind
    folder: Path
    env: Mapping[str, str]
    #: What the client itself asks.
    model: ScriptedModel
    #: What Codex asks.
    codex: ScriptedModel

    def turn(self, *steps: str) -> str:
        """What it says in one turn, by a process that ends with it."""
        program, *options = self.kind.turn
        prompt = "\n".join(("Please see to this.", *steps))
        path = self.env["PATH"]
        return run(command(program, path), *options, prompt, env=dict(self.env), cwd=self.folder)

    @contextmanager
    def hurried(self, seconds: int) -> Iterator[None]:
        """Meanwhile it gives up a call after so many seconds."""
        file = self.folder / self.kind.settings("")[0]
        settings = file.read_text()
        file.write_text(self.kind.hurried(settings, seconds))
        assert file.read_text() != settings
        try:
            yield
        finally:
            file.write_text(settings)

    def call(self, tool: str, **arguments: object) -> str:
        return self.kind.call(tool, arguments)

    def admin(self, *line: str) -> str:
        return run(*python(ADMIN, *line), env=dict(self.env))

    def results(self) -> tuple[str, ...]:
        """What came back to its model in the last turn."""
        return self.model.requests[-1].tool_outputs


@contextmanager
def settled(kind: Kind, folder: Path) -> Iterator[Agent]:
    """The client in a new home below this folder; nothing of it runs on afterwards."""
    (folder / "projects" / "shop").mkdir(parents=True)
    env = environment(folder, HOME=str(folder), **_OFFLINE)
    env["PATH"] = f"{kind.install()}{os.pathsep}{env['PATH']}"
    try:
        with serving_in_thread() as model, serving_in_thread() as codex:
            write_codex_home(folder / "codex-home", codex.base_url)
            file, settings = kind.settings(f"{model.base_url}/v1")
            (folder / file).parent.mkdir()
            # YAML reads JSON.
            (folder / file).write_text(json.dumps(settings))
            agent = Agent(kind, folder, env, model, codex)
            roots = ("--projects-root", str(folder / "projects"))
            agent.admin("init", *roots, "--write", "--client", kind.name)
            yield agent
    finally:
        # The models are gone by now, so a turn that hung on one ends.
        run(*python(ADMIN, "stop", "--force"), env=env)
    assert processes_of(folder) == []
