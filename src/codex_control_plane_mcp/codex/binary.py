"""Where Codex's native binary is, and which version.

The setting wins, then `codex` on PATH, then the `codex_cli_bin` package. What npm puts on PATH is a
node script that starts the native binary as its child: we want the child itself, because a process
that we can prove to be ours must not be somebody's wrapper. Nothing is downloaded or started here,
except to ask for the version.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import anyio

from codex_control_plane_mcp.codex.errors import BinaryNotFound

SETTING = "CODEX_BINARY_PATH"
#: It prints one line. Reading 360 MB from a cold disk takes its time.
VERSION_SECONDS = 20.0

_NAME = "codex.exe" if sys.platform == "win32" else "codex"
#: Where the platform package keeps it, newest layout first.
_IN_PACKAGE = (f"vendor/*/bin/{_NAME}", f"vendor/*/codex/{_NAME}")


def find_binary(configured: str | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """The native Codex binary to start."""
    if configured:
        return _configured(Path(configured).expanduser())
    if on_path := shutil.which("codex", path=environ.get("PATH")):
        return native(Path(on_path))
    if packaged := _packaged():
        return packaged
    raise BinaryNotFound(
        f"no Codex found: {SETTING} is not set, there is no `codex` on PATH, and the Python package"
        " openai-codex-cli-bin is not installed; install Codex or set the path"
    )


@dataclass(frozen=True, slots=True)
class Stamp:
    """Which binary it is, for as long as nobody installs another: told by a look at its file."""

    path: str
    size: int
    modified_ns: int


def stamp_of(binary: Path) -> Stamp:
    """Raises BinaryNotFound when it has just gone."""
    try:
        found = binary.stat()
    except OSError as error:
        raise BinaryNotFound(f"{binary} cannot be read: {error}") from error
    return Stamp(str(binary), found.st_size, found.st_mtime_ns)


def native(path: Path) -> Path:
    """The native binary behind `path`, which may be npm's node wrapper; else `path` itself."""
    real = path.resolve()
    for package in _npm_packages(real):
        for candidate in _candidates(package):
            return candidate
    return real


async def version(binary: Path) -> str | None:
    """What `codex --version` says, e.g. `0.169.0`; `None` when it says nothing of the kind."""
    try:
        with anyio.fail_after(VERSION_SECONDS):
            done = await anyio.run_process(
                [str(binary), "--version"], check=False, stderr=subprocess.DEVNULL
            )
    except (OSError, TimeoutError):
        return None
    found = re.search(r"\d+\.\d+\.\d+\S*", done.stdout.decode(errors="replace"))
    return found[0] if found else None


def _configured(path: Path) -> Path:
    if not path.is_file():
        raise BinaryNotFound(f"{SETTING} names {path}, which is not a file; correct or unset it")
    return native(path)


def _packaged() -> Path | None:
    try:
        package = import_module("codex_cli_bin")
        return Path(package.bundled_codex_path())
    except (ImportError, FileNotFoundError):
        return None


def _npm_packages(real: Path) -> Iterator[Path]:
    """Folders of `@openai/codex` that this launcher may belong to."""
    if real.suffix == ".js" and real.parent.name == "bin":
        yield real.parent.parent
    elif real.suffix in (".cmd", ".ps1"):
        yield real.parent / "node_modules" / "@openai" / "codex"


def _candidates(package: Path) -> Iterator[Path]:
    """Native binaries of this platform: in a nested, a neighbouring, or the package itself."""
    wanted = f"codex-{_npm_platform()}"
    for holder in (package / "node_modules" / "@openai" / wanted, package.parent / wanted, package):
        for pattern in _IN_PACKAGE:
            yield from sorted(holder.glob(pattern))


def _npm_platform() -> str:
    machine = platform.machine().lower()
    return f"{sys.platform}-{'arm64' if machine in ('arm64', 'aarch64') else 'x64'}"
