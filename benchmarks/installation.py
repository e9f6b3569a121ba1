"""The product as a wheel leaves it on a person's machine, in a temporary virtual environment.

An editable installation costs every start of Python a `.pth` file or two and a longer search path,
and the pipe's whole budget is a few milliseconds. So the package is copied and compiled as an
installer would do it; the dependencies are links to those of the running environment. The commands
are those that current installers write (older pips import `re` in them: some milliseconds more).
"""

import compileall
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import codex_control_plane_mcp

PACKAGE = "codex_control_plane_mcp"

_COMMAND = """\
#!{python}
import sys
from codex_control_plane_mcp.server import main
if __name__ == "__main__":
    sys.exit(main())
"""

#: What the pipe is held against: the least that Python can do for an MCP client.
_BARE = """\
#!{python}
import json
import sys
for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        result = {{"protocolVersion": "2025-06-18", "capabilities": {{}}}}
        answer = {{"jsonrpc": "2.0", "id": message["id"], "result": result}}
        sys.stdout.write(json.dumps(answer) + "\\n")
        sys.stdout.flush()
"""


@dataclass(frozen=True, slots=True)
class Installation:
    """Commands to start; each is a whole argument list."""

    python: Path
    server: tuple[str, ...]
    bare: tuple[str, ...]


def install(folder: Path) -> Installation:
    """Make the environment in `folder`, which must not exist yet."""
    venv.EnvBuilder(symlinks=sys.platform != "win32").create(folder)
    where = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", scheme="venv", vars=where))
    commands = Path(sysconfig.get_path("scripts", scheme="venv", vars=where))
    python = commands / Path(sys.executable).name
    if not python.exists():
        python = commands / ("python.exe" if sys.platform == "win32" else "python")
    _borrow_dependencies(packages)
    shutil.copytree(
        Path(codex_control_plane_mcp.__file__).parent,
        packages / PACKAGE,
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    compileall.compile_dir(packages / PACKAGE, quiet=1)
    server = _command(commands / "codex-control-plane-mcp", python, _COMMAND)
    bare = _command(commands / "bare-json-loop", python, _BARE)
    # The first start of anything reads it from the disk.
    for argv in (server, bare):
        subprocess.run(
            [*argv, "--version"], stdin=subprocess.DEVNULL, capture_output=True, check=True
        )
    return Installation(python, server, bare)


def _borrow_dependencies(packages: Path) -> None:
    present = {Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")}
    try:
        for entry in sorted(entry for folder in present for entry in folder.iterdir()):
            if entry.suffix != ".pth" and PACKAGE not in entry.name:
                (packages / entry.name).symlink_to(entry, target_is_directory=entry.is_dir())
    except OSError:
        # Windows keeps links to those who are allowed to make them.
        lines = "".join(f"{folder}\n" for folder in sorted(present))
        (packages / "borrowed.pth").write_text(lines, encoding="utf-8")


def _command(path: Path, python: Path, text: str) -> tuple[str, ...]:
    path.write_text(text.format(python=python), encoding="utf-8")
    path.chmod(0o755)
    return (str(python), str(path)) if sys.platform == "win32" else (str(path),)
