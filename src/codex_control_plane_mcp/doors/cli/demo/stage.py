"""Where the demo plays: its own folders, its own state, and a scripted model or the person's Codex.

Nothing outside its folder is written, and leaving it leaves nothing running and nothing behind.
"""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from codex_control_plane_mcp import settings
from codex_control_plane_mcp.codex.binary import SETTING, find_binary, version
from codex_control_plane_mcp.doors.cli.ending import (
    Ended,
    end_app_server,
    end_worker,
    own_app_server,
)
from codex_control_plane_mcp.paths import STATE_DB_VARIABLE
from codex_control_plane_mcp.scripted_model import serving, write_codex_home
from codex_control_plane_mcp.settings import Settings

FOLDER_PREFIX = "codex-demo-"
#: Should the demo itself be killed, its worker leaves after this long.
IDLE_EXIT_SECONDS = 15
#: For an app-server that has no turn any more.
PATIENCE_SECONDS = 15.0

#: Settings of the person that must not reach into the demo.
_NOT_OURS = (
    "CODEX_MCP_",
    "CODEX_CONTROL_PLANE_MCP_",
    "OPENCLAW_CODEX_MCP_",
    "CODEX_PROJECTS_",
    "CODEX_ALLOWED_ROOTS",
)

_HELLO = '''\
"""Greets whoever runs it."""

import sys

# TODO: greet in more than one language.
print(f"Hello, {sys.argv[1] if sys.argv[1:] else 'world'}!")
'''

#: What the scripted model does with any prompt; it plays on after a "no", as a model would.
PLAYBOOK = """\
think Reading the sources comes first.
say I read the program before I say anything about it.
wait 600ms
run cat hello.py
say One thing is open: it greets in one language only.
wait 600ms
say I may only read here, so I ask before I note that down.
wait 400ms
run! echo "TODO: greet in more than one language" > NOTES.md # because This task runs read-only, \
and a note has to be written.
wait 400ms
say hello.py works. One point is open: it greets in one language only.\\n\\n\
Writing NOTES.md needed your word, so it is there only if you gave it.
"""


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything the story needs to know of the place."""

    folder: Path
    settings: Settings
    environ: Mapping[str, str]
    binary: Path
    codex_version: str | None
    #: Whether the person's own Codex login is used.
    real: bool

    @property
    def project(self) -> Path:
        return self.folder / "greeter"

    @property
    def note(self) -> Path:
        """The file that is written only if the approval is given."""
        return self.project / "NOTES.md"

    async def end(self) -> tuple[Ended, Ended]:
        """End the worker and the app-server that the demo started."""
        seen = own_app_server(self.settings)
        worker = await end_worker(self.settings)
        return worker, await end_app_server(self.settings, seen, PATIENCE_SECONDS)


def new_folder() -> Path:
    """A new private folder. Remove it when nothing runs in it any more."""
    return Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX)).resolve()


def remove(folder: Path) -> bool:
    """Remove the demo's folder; whether it is gone."""
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


@asynccontextmanager
async def stage_in(folder: Path, *, real: bool) -> AsyncIterator[Stage]:
    """Set the stage. What was started on it must be ended before this is left."""
    own = settings.load(os.environ)
    binary = find_binary(str(own.codex_binary) if own.codex_binary else None)
    _write_project(folder / "greeter")
    if real:
        yield await _stage(folder, binary, own.codex_home, os.environ, real=True)
        return
    async with serving(PLAYBOOK) as model:
        home = write_codex_home(folder / "codex-home", model.base_url)
        yield await _stage(folder, binary, home, _without_proxy(os.environ), real=False)


async def _stage(
    folder: Path, binary: Path, home: Path, environ: Mapping[str, str], *, real: bool
) -> Stage:
    kept = {name: value for name, value in environ.items() if not name.startswith(_NOT_OURS)}
    own = {
        "CODEX_HOME": str(home),
        SETTING: str(binary),
        STATE_DB_VARIABLE: str(folder / "state" / "state.sqlite3"),
        "CODEX_ALLOWED_ROOTS": str(folder),
        # Never an app-server that somebody else uses.
        "CODEX_MCP_APP_SERVER": "private",
        "CODEX_MCP_IDLE_EXIT_SECONDS": str(IDLE_EXIT_SECONDS),
    }
    return Stage(
        folder=folder,
        settings=settings.load(kept | own),
        environ=kept | own,
        binary=binary,
        codex_version=await version(binary),
        real=real,
    )


def _write_project(project: Path) -> None:
    project.mkdir()
    (project / "hello.py").write_text(_HELLO, encoding="utf-8")


def _without_proxy(environ: Mapping[str, str]) -> dict[str, str]:
    """The scripted model listens on this machine: no proxy leads there."""
    direct = ",".join(filter(None, (environ.get("NO_PROXY"), "127.0.0.1,localhost")))
    return {**environ, "NO_PROXY": direct, "no_proxy": direct}
