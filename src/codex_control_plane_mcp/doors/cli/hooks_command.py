"""The command that `hooks.json` names: how it is written, and how ours is told from others."""

import ctypes
import os
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from codex_control_plane_mcp import journal_hook
from codex_control_plane_mcp.errors import InvalidArgument

#: A handler of ours names one of these: the module, or what former releases installed.
MARKS = (
    ("codex_control_plane_mcp", "journal_hook.py"),
    ("codex-control-plane-mcp-hooks",),
    ("openclaw-codex-mcp-hooks",),
)

#: A Python that finds no file leaves with 2, and to Codex 2 means: do not let the person go on.
#: Whatever happens to this installation, a turn must not depend on it.
_NEVER_MIND = " || exit /b 0" if sys.platform == "win32" else " || true"

#: What `cmd` takes for more than a character.
_SPECIAL = re.compile(r'[\s"&|<>^%()!,;=]')


@dataclass(frozen=True, slots=True)
class Command:
    """The parts of a command of this kind."""

    python: Path
    hook: Path
    state_db: Path


def is_ours(command: str) -> bool:
    return any(all(part in command for part in mark) for mark in MARKS)


def present(state_db: Path) -> Command:
    """What this installation would be started by."""
    return Command(Path(sys.executable), Path(journal_hook.__file__).absolute(), state_db)


def written(command: Command) -> str:
    """As it stands in the file. Raises InvalidArgument when no shell could read it."""
    argv = [str(command.python), "-I", "-S", str(command.hook)]
    argv += ["--state-db", str(command.state_db)]
    if sys.platform == "win32":
        return " ".join(without_spaces(argument, _short_name) for argument in argv) + _NEVER_MIND
    return shlex.join(argv) + _NEVER_MIND


def parsed(command: str) -> Command | None:
    """The parts, if it is one of this kind."""
    stated = command.removesuffix(_NEVER_MIND)
    try:
        argv = stated.split() if sys.platform == "win32" else shlex.split(stated)
    except ValueError:
        return None
    match argv:
        case [python, "-I", "-S", hook, "--state-db", state_db]:
            return Command(Path(python), Path(hook), Path(state_db))
        case _:
            return None


def without_spaces(path: str, short_name: Callable[[str], str]) -> str:
    """A path that `cmd` reads without quotes: Codex puts the whole command in quotes of its own,
    and `cmd` knows no quotes within quotes. Windows has a short name for most files."""
    if not _SPECIAL.search(path):
        return path
    folder, name = os.path.split(path)
    # The state need not be there yet; its folder is.
    shorter = short_name(path) or os.path.join(short_name(folder), name)  # noqa: PTH118
    if _SPECIAL.search(shorter):
        raise InvalidArgument(
            f"Codex cannot be given a hook with this path: {path}; use one without spaces and"
            " special characters (--state-db, or another virtual environment)"
        )
    return shorter


def _short_name(path: str) -> str:
    """The 8.3 name of a file that exists, or nothing."""
    if sys.platform != "win32":
        return ""
    buffer = ctypes.create_unicode_buffer(32_768)
    ctypes.windll.kernel32.GetShortPathNameW(path, buffer, len(buffer))
    return buffer.value
