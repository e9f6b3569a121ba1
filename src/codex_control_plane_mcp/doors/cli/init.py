"""`init`: print the block that a client's configuration needs, and make the state folder.

The JSON alone goes to standard output, so it can be piped; hints go to standard error. It holds no
secret: Codex keeps its login in its own home.
"""

import json
import os
import shutil
import sys
from pathlib import Path

from codex_control_plane_mcp import paths
from codex_control_plane_mcp.codex.binary import SETTING, find_binary
from codex_control_plane_mcp.codex.errors import BinaryNotFound

SCRIPT = "codex-control-plane-mcp"
#: The name that clients show for the server.
SERVER_NAME = "codex-control-plane"


def run(state_db: str | None, projects_root: str) -> int:
    environ = os.environ
    state = paths.canonical(state_db) if state_db else paths.state_db_path(environ)
    root = Path(paths.canonical(projects_root))
    try:
        paths.make_private_folder(str(Path(state).parent))
    except OSError as error:
        _hint(f"cannot make the folder of the state: {error}")
        return 1
    env = {paths.STATE_DB_VARIABLE: state, "CODEX_PROJECTS_ROOT": str(root)}
    if binary := _binary(environ.get(SETTING)):
        env[SETTING] = binary
    if not root.is_dir():
        _hint(f"{root} is not a folder yet; every folder directly in it will be a project")
    sys.stdout.write(json.dumps(client_block(script_path(), env), indent=2) + "\n")
    _hint("paste this into your client's configuration; some call `mcpServers` by another name")
    return 0


def client_block(command: str, env: dict[str, str]) -> dict[str, object]:
    """What most clients read, as JSON data."""
    return {"mcpServers": {SERVER_NAME: {"command": command, "env": env}}}


def script_path() -> str:
    """The installed command that clients start: the one beside this Python, else on the path."""
    beside = Path(sys.executable).with_name(SCRIPT + (".exe" if sys.platform == "win32" else ""))
    if beside.is_file():
        return str(beside.absolute())
    return shutil.which(SCRIPT) or SCRIPT


def _binary(stated: str | None) -> str | None:
    try:
        return str(find_binary(stated))
    except BinaryNotFound as error:
        _hint(str(error))
        return None


def _hint(text: str) -> None:
    sys.stderr.write(f"{text}\n")
