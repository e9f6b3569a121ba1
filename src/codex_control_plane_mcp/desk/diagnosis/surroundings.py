"""What lies around the book on this machine: the disk, the folders, Codex's hooks. Looks only."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from codex_control_plane_mcp.journal_hook import COMPLETE
from codex_control_plane_mcp.settings import Settings

#: With less the book soon cannot be written; Codex's own records and logs grow on the same disk.
LOW_DISK_BYTES = 200_000_000
#: With less it cannot be relied on for the next task.
FULL_DISK_BYTES = 20_000_000
#: Named in the command of a hook of ours (see the hooks command).
_OUR_HOOK = ("codex_control_plane_mcp", "journal_hook.py")


@dataclass(frozen=True, slots=True)
class Disk:
    """Where the state lies."""

    folder: str
    #: None: it could not be asked.
    free_bytes: int | None
    writable: bool

    @property
    def is_full(self) -> bool:
        return self.free_bytes is not None and self.free_bytes < FULL_DISK_BYTES

    @property
    def is_low(self) -> bool:
        return self.free_bytes is not None and self.free_bytes < LOW_DISK_BYTES


@dataclass(frozen=True, slots=True)
class Hooks:
    """What tells us of turns that people type in Codex."""

    #: Whether `hooks.json` names ours; whether Codex trusts them only Codex can say.
    installed: bool
    #: Whether what they tell is kept.
    enabled: bool
    #: What they told and nobody has taken in yet.
    waiting: int


@dataclass(frozen=True, slots=True)
class Root:
    path: str
    is_folder: bool


@dataclass(frozen=True, slots=True)
class Surroundings:
    disk: Disk
    hooks: Hooks
    #: Where tasks may be sent.
    roots: tuple[Root, ...]
    codex_home: Root


def look(settings: Settings) -> Surroundings:
    """All of it. The allowed roots may be on a slow disk."""
    return Surroundings(
        disk=disk(settings.state_db.parent),
        hooks=hooks(settings),
        roots=tuple(_root(path) for path in settings.roots),
        codex_home=_root(settings.codex_home),
    )


def disk(folder: Path) -> Disk:
    """How much room there is for the state."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        free = None
    return Disk(str(folder), free, os.access(folder, os.W_OK | os.X_OK))


def hooks(settings: Settings) -> Hooks:
    """Whether hooks of ours are installed, and what they told."""
    try:
        text = (settings.codex_home / "hooks.json").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    try:
        waiting = sum(one.name.endswith(COMPLETE) for one in os.scandir(settings.hook_spool))
    except OSError:
        waiting = 0
    installed = all(part in text for part in _OUR_HOOK)
    return Hooks(installed, settings.hook_history_enabled, waiting)


def _root(path: Path) -> Root:
    return Root(str(path), path.is_dir())
