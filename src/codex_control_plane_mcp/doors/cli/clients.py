"""The MCP clients that `init` knows: whether one is here, what it reads, and how it is told.

Where a client has a command to add a server, that command is used; the others keep servers in a
JSON file, which is merged. One entry of the table is all there is to a client.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from codex_control_plane_mcp.doors.cli import config_file

#: The name that clients show for the server.
SERVER_NAME = "codex-control-plane"
#: OpenClaw takes a minute to start on a busy machine; then it starts the server and asks for its
#: tools before it says yes.
ADDING_SECONDS = 300.0
#: Of itself it gives a server 5 seconds, and a worker may have to start first.
OPENCLAW_CONNECT_SECONDS = 60


class Name(StrEnum):
    CLAUDE_CODE = "claude-code"
    CODEX = "codex"
    OPENCLAW = "openclaw"
    HERMES = "hermes"
    CLAUDE_DESKTOP = "claude-desktop"
    CURSOR = "cursor"
    VSCODE = "vscode"


class NotAdded(Exception):
    """The client did not take the entry; the message says why, in its words."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a client has to know of the server."""

    command: str
    env: Mapping[str, str]

    @property
    def assignments(self) -> list[str]:
        return [f"{name}={value}" for name, value in self.env.items()]


@dataclass(frozen=True, slots=True)
class ByCommand:
    """A client with a command that adds servers."""

    title: str
    program: str
    add: Callable[[Entry], list[str]]
    #: What takes a former entry of that name out first, where `add` would refuse.
    remove: Sequence[str] = ()
    #: What puts another in the place of a former one, where `add` refuses and says that it exists.
    replace: Callable[[Entry], list[str]] | None = None
    #: What it says when it has the server and will use it, where its exit code does not tell.
    proof: str = ""

    def is_here(self, _environ: Mapping[str, str]) -> bool:
        return shutil.which(self.program) is not None

    def shown(self, entry: Entry) -> str:
        """To be pasted into a shell."""
        line = [self.program, *self.add(entry)]
        return subprocess.list2cmdline(line) if sys.platform == "win32" else shlex.join(line)

    def told_where(self, _environ: Mapping[str, str]) -> str:
        return "run in a shell"

    def tell(self, entry: Entry, _environ: Mapping[str, str]) -> str:
        """Add the server; says what was done. Raises NotAdded."""
        program = shutil.which(self.program)
        if program is None:
            raise NotAdded(f"there is no `{self.program}` on the path")
        removed = _run([program, *self.remove]) if self.remove else None
        done = _run([program, *self.add(entry)])
        if done.returncode != 0 and self.replace is not None and "already exists" in _words(done):
            done = _run([program, *self.replace(entry)])
        if done.returncode != 0 or self.proof not in done.stdout:
            why = _last_words(done) or f"exit code {done.returncode}"
            if removed is not None and removed.returncode != 0:
                why += f" (and before, when asked to remove it: {_last_words(removed)})"
            raise NotAdded(why)
        return f"added by `{self.program} {' '.join(self.add(entry)[:2])}`"


@dataclass(frozen=True, slots=True)
class ByFile:
    """A client that reads its servers from a JSON file."""

    title: str
    #: The file, in whose folder the client keeps its things.
    file: Callable[[Mapping[str, str]], Path]
    #: The object in it that holds the servers.
    key: str = "mcpServers"
    #: What it wants to read besides command and environment.
    more: Mapping[str, str] | None = None

    def is_here(self, environ: Mapping[str, str]) -> bool:
        return self.file(environ).parent.is_dir()

    def shown(self, entry: Entry) -> str:
        """To be merged into the file."""
        return json.dumps({self.key: {SERVER_NAME: self._server(entry)}}, indent=2)

    def told_where(self, environ: Mapping[str, str]) -> str:
        return f"merge into {self.file(environ)}"

    def tell(self, entry: Entry, environ: Mapping[str, str]) -> str:
        """Merge the server into the file; says what was done. Raises NotAdded."""

        def merged(before: str | None) -> str | None:
            stored = _object(before or "{}")
            servers = _object_in(stored, self.key)
            if servers.get(SERVER_NAME) == self._server(entry):
                return None
            stored[self.key] = servers | {SERVER_NAME: self._server(entry)}
            return json.dumps(stored, indent=_indent_of(before), ensure_ascii=False) + "\n"

        file = self.file(environ)
        try:
            change = config_file.change(
                file, lambda text: _object_in(_object(text), self.key), merged
            )
        except (config_file.Unreadable, OSError) as error:
            raise NotAdded(str(error)) from error
        if not change.changed:
            return f"already in {file}"
        kept = f"; as it was: {change.backup}" if change.backup else ""
        return f"written to {file}{kept}"

    def _server(self, entry: Entry) -> dict[str, object]:
        return {**(self.more or {}), "command": entry.command, "env": dict(entry.env)}


Client = ByCommand | ByFile


def block(entry: Entry) -> dict[str, object]:
    """What most clients read, as JSON data."""
    return {"mcpServers": {SERVER_NAME: {"command": entry.command, "env": dict(entry.env)}}}


def _of_openclaw(entry: Entry) -> dict[str, object]:
    return {
        "command": entry.command,
        "env": dict(entry.env),
        "connectionTimeoutMs": OPENCLAW_CONNECT_SECONDS * 1000,
    }


def _run(line: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Yes to the one question that a client may have: whether it shall do what it was told."""
    try:
        return subprocess.run(
            line,
            input="y\n",
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=ADDING_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise NotAdded(f"`{' '.join(line[:3])}` did not end in {ADDING_SECONDS:.0f} s") from error
    except OSError as error:
        raise NotAdded(str(error)) from error


def _words(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout + done.stderr


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    said = [line.strip() for line in _words(done).splitlines() if line.strip()]
    return " / ".join(said[-3:])


def _object(text: str) -> dict[str, object]:
    stored = json.loads(text)
    if not isinstance(stored, dict):
        raise ValueError("it does not hold one JSON object")
    return stored


def _object_in(stored: Mapping[str, object], key: str) -> dict[str, object]:
    found = stored.get(key, {})
    if not isinstance(found, dict):
        raise ValueError(f"`{key}` is not an object")
    return found


def _indent_of(text: str | None) -> int | str:
    """As the file was written so far."""
    first = re.search(r"^([ \t]+)\S", text or "", re.MULTILINE)
    return first[1] if first else 2


# --- Where the clients of a desktop keep their things --------------------------------------------


def _home() -> Path:
    return Path("~").expanduser()


def _application_folder(environ: Mapping[str, str]) -> Path:
    """Where programs of this system keep what belongs to one user."""
    if sys.platform == "win32":
        return Path(environ.get("APPDATA") or _home() / "AppData" / "Roaming")
    if sys.platform == "darwin":
        return _home() / "Library" / "Application Support"
    stated = environ.get("XDG_CONFIG_HOME", "")
    return Path(stated) if os.path.isabs(stated) else _home() / ".config"  # noqa: PTH117


CLIENTS: Final[Mapping[Name, Client]] = {
    Name.CLAUDE_CODE: ByCommand(
        title="Claude Code",
        program="claude",
        # `-e` takes all that follows it, so the name stands before.
        add=lambda entry: [
            *("mcp", "add", "--scope", "user", SERVER_NAME),
            *(part for one in entry.assignments for part in ("-e", one)),
            *("--", entry.command),
        ],
        remove=("mcp", "remove", "--scope", "user", SERVER_NAME),
    ),
    Name.CODEX: ByCommand(
        title="Codex",
        program="codex",
        add=lambda entry: [
            *("mcp", "add"),
            *(part for one in entry.assignments for part in ("--env", one)),
            *(SERVER_NAME, "--", entry.command),
        ],
    ),
    Name.OPENCLAW: ByCommand(
        title="OpenClaw",
        program="openclaw",
        add=lambda entry: [
            *("mcp", "add", SERVER_NAME, "--command", entry.command),
            *(part for one in entry.assignments for part in ("--env", one)),
            *("--connect-timeout", str(OPENCLAW_CONNECT_SECONDS)),
        ],
        # Not taken out first: it refuses to write a file that has become much smaller.
        replace=lambda entry: ["mcp", "set", SERVER_NAME, json.dumps(_of_openclaw(entry))],
    ),
    Name.HERMES: ByCommand(
        title="Hermes",
        program="hermes",
        add=lambda entry: [
            *("mcp", "add", SERVER_NAME, "--command", entry.command),
            *("--env", *entry.assignments),
        ],
        remove=("mcp", "remove", SERVER_NAME),
        # It also ends with 0 when it could not connect, or was told nothing.
        proof="tools enabled",
    ),
    Name.CLAUDE_DESKTOP: ByFile(
        title="Claude Desktop",
        file=lambda environ: _application_folder(environ) / "Claude" / "claude_desktop_config.json",
    ),
    Name.CURSOR: ByFile(title="Cursor", file=lambda _: _home() / ".cursor" / "mcp.json"),
    Name.VSCODE: ByFile(
        title="VS Code",
        file=lambda environ: _application_folder(environ) / "Code" / "User" / "mcp.json",
        key="servers",
        more={"type": "stdio"},
    ),
}
