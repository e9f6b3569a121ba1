"""Where the state lives: the per-user folder, and which database file is meant.

The pipe needs this answer before it can do anything, so it is worked out here with `os` alone; the
other settings are read elsewhere, by the worker. Nothing here opens the database.
"""

# pathlib would cost the pipe more to import than all that it imports from here.
# ruff: noqa: PTH102, PTH105, PTH108, PTH111, PTH112, PTH117, PTH118, PTH120, PTH123

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

APP_NAME = "codex-control-plane-mcp"
STATE_FILE = "state.sqlite3"

STATE_DB_VARIABLE = "CODEX_MCP_STATE_DB"
#: What 0.2.1 called it in the settings file.
FORMER_STATE_DB_KEY = "state_db_path"
#: The JSON settings file is named by the first of these that is set.
CONFIG_VARIABLES = ("CODEX_CONTROL_PLANE_MCP_CONFIG", "OPENCLAW_CODEX_MCP_CONFIG")


class PathError(ValueError):
    """The settings name no usable state database; the message says which one and why."""


def state_db_path(environ: Mapping[str, str]) -> str:
    """The absolute path of the state database: environment, then settings file, then default.

    Symbolic links are resolved, so that two spellings of one file mean one worker.
    """
    named = environ.get(STATE_DB_VARIABLE, "").strip() or _from_config(environ)
    return canonical(named or os.path.join(default_state_folder(environ), STATE_FILE))


def canonical(path: str) -> str:
    return os.path.realpath(expand(path))


def expand(path: str) -> str:
    """`~` and environment variables replaced, as a person would expect of a path in a setting."""
    return os.path.expanduser(os.path.expandvars(path))


def config_path(environ: Mapping[str, str]) -> str | None:
    """The JSON settings file that the environment names, if any."""
    for variable in CONFIG_VARIABLES:
        if named := environ.get(variable, "").strip():
            return expand(named)
    return None


def default_state_folder(environ: Mapping[str, str]) -> str:
    """The same answer as `platformdirs.user_state_dir("codex-control-plane-mcp", False)`."""
    if sys.platform == "win32":
        local = environ.get("LOCALAPPDATA") or os.path.expanduser(r"~\AppData\Local")
        return os.path.join(os.path.normpath(local), APP_NAME)
    # A relative XDG folder is invalid by its specification and must be ignored.
    if os.path.isabs(stated := environ.get("XDG_STATE_HOME", "")):
        return os.path.join(stated, APP_NAME)
    if sys.platform == "darwin":
        return os.path.expanduser(f"~/Library/Application Support/{APP_NAME}")
    return os.path.expanduser(f"~/.local/state/{APP_NAME}")


def make_private_folder(path: str) -> None:
    """Create the folder, closed to other users.

    One that exists already is left as it is: it is the user's to share.
    """
    parent = os.path.dirname(path)
    if parent and not os.path.isdir(parent):
        make_private_folder(parent)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
        return
    sync_folder(parent or ".")


def replace_file(path: str, content: bytes) -> None:
    """Put a file in place in one step, private to this user: a reader sees the former one or this
    one, whole, whoever else replaces it at the same moment."""
    draft = f"{path}.{os.urandom(4).hex()}.tmp"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        os.replace(draft, path)
    except OSError:
        os.unlink(draft)
        raise


def sync_folder(folder: str) -> None:
    """Have the names in a folder survive a power loss, where the system can."""
    if os.name != "posix":
        return
    try:
        fd = os.open(folder, os.O_RDONLY)
    except OSError:
        return  # a folder that we may not read is not ours to sync
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def stored(environ: Mapping[str, str]) -> dict[str, object]:
    """What the JSON settings file says, if the environment names one; PathError if it cannot be
    read."""
    path = config_path(environ)
    if path is None:
        return {}
    import json

    try:
        with open(path, encoding="utf-8") as file:
            settings = json.load(file)
    except OSError as error:
        raise PathError(f"cannot read the settings file {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise PathError(f"the settings file {path} is not valid JSON: {error}") from error
    if not isinstance(settings, dict):
        raise PathError(f"the settings file {path} must hold one JSON object")
    return settings


def _from_config(environ: Mapping[str, str]) -> str:
    settings = stored(environ)
    named = settings.get("state_db", settings.get(FORMER_STATE_DB_KEY, ""))
    if not isinstance(named, str):
        path = config_path(environ)
        raise PathError(f"`state_db` in the settings file {path} must be a path in quotes")
    return named.strip()
