"""Whether Codex will run our hooks, and if not, why: the file, the program, and Codex's word."""

import os
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from codex_control_plane_mcp.codex.aside import aside
from codex_control_plane_mcp.codex.errors import CodexError
from codex_control_plane_mcp.codex.words.things import Hook
from codex_control_plane_mcp.doors.cli import config_file, hooks_file
from codex_control_plane_mcp.doors.cli.hooks_command import Command, is_ours, parsed
from codex_control_plane_mcp.settings import Settings

#: A start takes a hundredth of that, also on a cold disk and a loaded machine.
TRIAL_SECONDS = 10.0

_INSTALL = "run `codex-control-plane-mcp-hooks install`"
_TRUST = "run `codex-control-plane-mcp-hooks install --trust`, or trust them in Codex with /hooks"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that keeps the hooks from working, and what to do."""

    #: `file`, `command`, `state`, `trust`, or `codex`: it could not be asked.
    about: str
    problem: str
    advice: str


async def ours_in_codex(chosen: Settings) -> tuple[Hook, ...]:
    """Our hooks as Codex sees them. Raises CodexError, OSError."""
    async with aside(chosen.codex_home, chosen.codex_binary, os.environ) as session:
        return _ours(await session.list_hooks((str(chosen.codex_home),)))


async def trust(chosen: Settings) -> tuple[Hook, ...]:
    """Have Codex trust our hooks as they are now; as it sees them then."""
    async with aside(chosen.codex_home, chosen.codex_binary, os.environ) as session:
        folder = (str(chosen.codex_home),)
        wanted = {
            hook.key: hook.current_hash
            for hook in _ours(await session.list_hooks(folder))
            if hook.current_hash is not None and not is_trusted(hook)
        }
        if wanted:
            await session.trust_hooks(wanted)
        return _ours(await session.list_hooks(folder))


def is_trusted(hook: Hook) -> bool:
    return hook.trust_status in ("trusted", "managed")


def _ours(hooks: Iterable[Hook]) -> tuple[Hook, ...]:
    return tuple(hook for hook in hooks if hook.command is not None and is_ours(hook.command))


async def examine(chosen: Settings) -> list[Finding]:
    """Everything that is wrong; nothing when Codex runs them."""
    found = list(_in_the_file(chosen))
    try:
        hooks = await ours_in_codex(chosen)
    except (CodexError, OSError) as error:
        advice = "install Codex, or set CODEX_BINARY_PATH"
        return [*found, Finding("codex", f"Codex cannot be asked: {error}", advice)]
    # What is not in the file Codex cannot see.
    return found if any(one.about == "file" for one in found) else [*found, *_in_codex(hooks)]


def _in_the_file(chosen: Settings) -> Iterator[Finding]:
    try:
        text = hooks_file.read(chosen.codex_home / hooks_file.NAME)
    except config_file.Unreadable as error:
        yield Finding("file", str(error), "mend the file")
        return
    ours = list(hooks_file.handlers(text or "{}"))
    missing = [event for event in hooks_file.EVENTS if event not in {one.event.key for one in ours}]
    if missing:
        yield Finding("file", f"not installed for {', '.join(missing)}", _INSTALL)
    for command in dict.fromkeys(one.command for one in ours):
        yield from _in_the_command(command, chosen)


def _in_the_command(command: str, chosen: Settings) -> Iterator[Finding]:
    parts = parsed(command)
    if parts is None:
        yield Finding("command", f"it is of another release: {command}", _INSTALL)
        return
    if parts.state_db != chosen.state_db:
        yield Finding(
            "state",
            f"it reports to {parts.state_db}, and the state in force is {chosen.state_db}",
            f"{_INSTALL}, or set CODEX_MCP_STATE_DB",
        )
    if not parts.python.is_file():
        yield Finding("command", f"there is no Python at {parts.python}", _INSTALL)
    elif not parts.hook.is_file():
        yield Finding("command", f"there is no hook at {parts.hook}", _INSTALL)
    elif problem := _trial(parts):
        yield Finding("command", problem, _INSTALL)
    folder = parts.state_db.parent
    if not os.access(folder, os.W_OK):
        yield Finding("state", f"{folder} is no folder that can be written", "make it, or mend it")


def _trial(parts: Command) -> str | None:
    """Start it with nothing to tell: it keeps nothing then."""
    argv = [str(parts.python), "-I", "-S", str(parts.hook), "--state-db", str(parts.state_db)]
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TRIAL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"it does not start: {error}"
    if done.returncode or done.stdout:
        return f"it does not start: {done.stderr.decode(errors='replace').strip()[:500]}"
    return None


def _in_codex(hooks: tuple[Hook, ...]) -> Iterator[Finding]:
    if not hooks:
        yield Finding(
            "trust",
            "Codex does not see them: the feature `hooks` is off, or only managed ones are allowed",
            "look at `[features]` in config.toml, or ask who manages this Codex",
        )
    for hook in hooks:
        if not is_trusted(hook):
            yield Finding("trust", f"{hook.event_name} is {hook.trust_status}", _TRUST)
        elif not hook.enabled:
            yield Finding("trust", f"{hook.event_name} is switched off", "switch it on with /hooks")
