"""`install` and `uninstall`: change the file, and only if a person says so, what Codex trusts."""

import sys

import anyio
import typer

from codex_control_plane_mcp.codex.errors import CodexError
from codex_control_plane_mcp.codex.words.things import Hook
from codex_control_plane_mcp.doors.cli import (
    config_file,
    hooks_command,
    hooks_doctor,
    hooks_file,
)
from codex_control_plane_mcp.doors.cli.terminal import somebody_is_there
from codex_control_plane_mcp.paths import make_private_folder
from codex_control_plane_mcp.settings import Settings

_NOT_TRUSTED = (
    "Codex does not run them until you trust them: run this again with --trust, or use /hooks in "
    "Codex."
)


def install(chosen: Settings, trust: bool | None) -> int:
    """`trust` None: ask, where somebody is there."""
    command = hooks_command.written(hooks_command.present(chosen.state_db))
    file = chosen.codex_home / hooks_file.NAME
    try:
        make_private_folder(str(chosen.hook_spool))
        change = hooks_file.change(file, lambda text: hooks_file.installed(text, command))
    except (config_file.Unreadable, OSError) as error:
        return _failed(str(error))
    _say_changed(change, file, "installed in", "installed already in")
    _say(f"they report to {chosen.state_db}")
    try:
        return anyio.run(_trusted, chosen, trust)
    except (CodexError, OSError) as error:
        # Without a word of Codex it is still installed, and that was all that was asked for.
        _say(f"Codex could not be asked whether it trusts them: {error}")
        return 1 if trust else 0


def uninstall(chosen: Settings) -> int:
    file = chosen.codex_home / hooks_file.NAME
    try:
        text = hooks_file.read(file)
        moved = () if text is None else hooks_file.those_behind(text)
        change = hooks_file.change(file, hooks_file.uninstalled)
    except (config_file.Unreadable, OSError) as error:
        return _failed(str(error))
    _say_changed(change, file, "taken out of", "none in")
    if moved:
        _say(
            f"Codex knows hooks by their place: it will ask again about those behind ours "
            f"({', '.join(moved)})."
        )
    return 0


async def _trusted(chosen: Settings, trust: bool | None) -> int:
    hooks = await hooks_doctor.ours_in_codex(chosen)
    if _all_trusted(hooks):
        _say("Codex trusts them.")
        return 0
    if trust is None and somebody_is_there():
        trust = typer.confirm("Let Codex run them at the begin and the end of each turn?")
    if not trust:
        _say(_NOT_TRUSTED)
        return 0
    if not _all_trusted(await hooks_doctor.trust(chosen)):
        return _failed("Codex did not take them as trusted; `doctor` says more")
    _say("Codex trusts them. Chats that are open already go on without them.")
    return 0


def _all_trusted(hooks: tuple[Hook, ...]) -> bool:
    return bool(hooks) and all(hooks_doctor.is_trusted(hook) for hook in hooks)


def _say_changed(change: config_file.Change, file: object, done: str, nothing: str) -> None:
    _say(f"hooks {done if change.changed else nothing} {file}")
    if change.backup is not None:
        _say(f"as it was: {change.backup}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _failed(why: str) -> int:
    sys.stderr.write(f"codex-control-plane-mcp-hooks: {why}\n")
    return 1
