"""`init`: what a client has to be told, and with `--write` the telling.

What can be pasted goes to standard output, alone, so it can be piped; all else goes to standard
error. It holds no secret: Codex keeps its login in its own home.
"""

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import anyio
import typer

from codex_control_plane_mcp import paths, settings
from codex_control_plane_mcp.codex.binary import SETTING, find_binary
from codex_control_plane_mcp.codex.errors import BinaryNotFound
from codex_control_plane_mcp.doors.cli import clients
from codex_control_plane_mcp.doors.cli.clients import CLIENTS, Entry, Name, NotAdded
from codex_control_plane_mcp.doors.cli.scenarios import Scenario
from codex_control_plane_mcp.doors.cli.terminal import somebody_is_there
from codex_control_plane_mcp.settings import Settings

SCRIPT = "codex-control-plane-mcp"
PROJECTS_ROOT = "CODEX_PROJECTS_ROOT"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the person wants."""

    state_db: str | None
    projects_root: str
    #: None named: the form that most clients read, or with `write` those that are here.
    clients: Sequence[Name] = ()
    write: bool = False
    #: None: ask, where somebody is there.
    hooks: bool | None = None
    smoke: bool = True


def run(asked: Asked) -> int:
    environ = _environment(asked, os.environ)
    chosen = settings.load(environ)
    try:
        paths.make_private_folder(str(chosen.state_db.parent))
    except OSError as error:
        return _failed(f"cannot make the folder of the state: {error}")
    entry = Entry(script_path(), _stated(chosen, environ))
    if chosen.projects_root is not None and not chosen.projects_root.is_dir():
        _hint(
            f"{chosen.projects_root} is not a folder yet; every folder directly in it will be a"
            " project"
        )
    _show(asked, entry, environ)
    if asked.smoke and not _answers(chosen, entry, environ):
        return _failed("the server does not answer as it should; nothing was written")
    added = not asked.write or _tell(asked.clients, entry, environ)
    hooked = _offer_hooks(chosen, asked.hooks)
    return 0 if added and hooked else 1


def script_path() -> str:
    """The installed command that clients start: the one beside this Python, else on the path."""
    beside = Path(sys.executable).with_name(SCRIPT + (".exe" if sys.platform == "win32" else ""))
    if beside.is_file():
        return str(beside.absolute())
    return shutil.which(SCRIPT) or SCRIPT


def _environment(asked: Asked, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment, with what was asked for in it; a Codex that is not there is left out."""
    state = paths.canonical(asked.state_db) if asked.state_db else paths.state_db_path(environ)
    named = {
        **environ,
        paths.STATE_DB_VARIABLE: state,
        PROJECTS_ROOT: paths.canonical(asked.projects_root),
    }
    named.pop(SETTING, None)
    try:
        named[SETTING] = str(find_binary(environ.get(SETTING)))
    except BinaryNotFound as error:
        _hint(str(error))
    return named


def _stated(chosen: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Every setting that the environment states here: a client starts the server without it."""
    variables = [
        source.removeprefix("environment ")
        for source in chosen.sources.values()
        if source.startswith("environment ")
    ]
    file = {
        name: str(Path(paths.expand(environ[name])).absolute())
        for name in paths.CONFIG_VARIABLES
        if environ.get(name)
    }
    return {name: environ[name] for name in variables} | file


def _show(asked: Asked, entry: Entry, environ: Mapping[str, str]) -> None:
    for name in asked.clients:
        client = CLIENTS[name]
        _hint(f"{client.title}: {client.told_where(environ)}")
        _print(client.shown(entry))
    if asked.clients:
        return
    _print(json.dumps(clients.block(entry), indent=2))
    if not asked.write:
        here = [name for name, client in CLIENTS.items() if client.is_here(environ)]
        _hint("paste this into your client's configuration; some call `mcpServers` otherwise")
        if here:
            _hint(
                f"found here: {', '.join(here)}; --client NAME prints what such a one reads, and"
                " --write tells it"
            )


def _answers(chosen: Settings, entry: Entry, environ: Mapping[str, str]) -> bool:
    """Whether a client that starts exactly this gets right answers. It leaves no new worker."""
    from codex_control_plane_mcp.doors.cli.smoke import Trial, perform

    trial = Trial(chosen, {**environ, **entry.env}, [entry.command])
    checks = anyio.run(perform, trial, Scenario.PROTOCOL)
    for check in checks:
        if not check.ok:
            _hint(f"{check.name}: {check.said}")
    if all(check.ok for check in checks):
        _hint(f"tried: {checks[-1].said}")
        return True
    return False


def _tell(names: Sequence[Name], entry: Entry, environ: Mapping[str, str]) -> bool:
    """Tell the clients that were named, or those that are here. Whether all of them took it."""
    meant = names or [name for name, client in CLIENTS.items() if client.is_here(environ)]
    if not meant:
        _hint(f"none of these was found here: {', '.join(CLIENTS)}")
        return False
    taken = True
    for name in meant:
        client = CLIENTS[name]
        try:
            _hint(f"{client.title}: {client.tell(entry, environ)}")
        except NotAdded as error:
            _hint(f"{client.title}: not added: {error}")
            taken = False
    return taken


def _offer_hooks(chosen: Settings, wanted: bool | None) -> bool:
    """Install the hooks where the person says so. False: they were wanted and are not there."""
    from codex_control_plane_mcp.doors.cli import hooks
    from codex_control_plane_mcp.doors.cli.hooks_install import install

    if wanted is None and hooks.look(chosen.codex_home).events:
        return True
    if wanted is None and somebody_is_there():
        wanted = typer.confirm(
            "Shall Codex's hooks tell the search what is typed in Codex itself?", err=True
        )
    if not wanted:
        _hint(f"{hooks.PROGRAM} install  has what is typed in Codex itself found, too")
        return True
    with redirect_stdout(sys.stderr):
        return install(chosen, trust=None) == 0


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _hint(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _failed(why: str) -> int:
    _hint(why)
    return 1
