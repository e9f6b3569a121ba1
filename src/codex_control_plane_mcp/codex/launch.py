"""Starting an app-server that belongs to nobody's stdin, and speaking to where it listens.

It gets a session of its own, so it outlives us; and a log file instead of a pipe, because a pipe
dies with its reader and blocks its writer. This module starts and dials; which process to use, and
when to end one, is the supervisor's to say.
"""

import hashlib
import os
import re
import secrets
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from codex_control_plane_mcp.codex.binary import Stamp
from codex_control_plane_mcp.codex.errors import AppServerUnavailable
from codex_control_plane_mcp.codex.record import Record
from codex_control_plane_mcp.paths import make_private_folder
from codex_control_plane_mcp.rpc.websocket import (
    CannotConnect,
    WebSocketWire,
    connect_tcp,
    connect_unix,
)

LOG_NAME = "app-server.log"
OLD_LOG_NAME = "app-server.log.old"
#: Codex logs little; a flood must not fill the disk.
MAX_LOG_BYTES = 4 * 1024 * 1024
#: How much of a flood is kept for whoever wants to see what it was.
KEPT_LOG_BYTES = 256 * 1024
#: sun_path holds 104 bytes on macOS and 108 on Linux, with the final NUL.
MAX_SOCKET_PATH_BYTES = 100

# Windows has no sessions: there a process is detached from our console instead.
if sys.platform == "win32":
    _CREATION_FLAGS = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS
else:
    _CREATION_FLAGS = 0
_LISTENING = re.compile(rb"ws://127\.0\.0\.1:\d+")


class Launched:
    """A process just started."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path, log_start: int) -> None:
        self._process = process
        self._log = log
        self._log_start = log_start
        # It may end long before we do, and is a zombie until somebody takes its exit status.
        threading.Thread(target=process.wait, name="app-server-reaper", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        return self._process.returncode

    def output(self) -> bytes:
        """What it wrote to the log so far, the last part of it."""
        try:
            with self._log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(self._log_start if size >= self._log_start else 0, size - 20_000))
                return file.read()
        except OSError:
            return b""

    def printed_url(self) -> str | None:
        """`ws://127.0.0.1:PORT`, once it says so."""
        found = _LISTENING.search(self.output())
        return found[0].decode() if found else None


def planned(
    folder: Path, stamp: Stamp, codex_home: Path, transport: Literal["unix", "ws"]
) -> Record:
    """A record for an app-server that is about to be started."""
    name = secrets.token_hex(4)
    if transport == "unix":
        address = _socket_path(folder, name)
        return Record("unix", address, None, stamp.path, str(codex_home), stamp=stamp)
    token_file = folder / f"app-server-{name}.token"
    with open(token_file, "w", encoding="ascii", opener=_private) as file:
        file.write(secrets.token_urlsafe(32))
    return Record("ws", "", str(token_file), stamp.path, str(codex_home), stamp=stamp)


def launch(folder: Path, record: Record, environ: Mapping[str, str] = os.environ) -> Launched:
    """Start it, detached."""
    log = folder / LOG_NAME
    shorten_log(folder)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        log_start = os.fstat(descriptor).st_size
        process = subprocess.Popen(
            _command(record),
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            env={**environ, "CODEX_HOME": record.codex_home},
            cwd=folder,
            start_new_session=sys.platform != "win32",
            creationflags=_CREATION_FLAGS,
        )
    finally:
        os.close(descriptor)
    return Launched(process, log, log_start)


async def dial(record: Record) -> WebSocketWire:
    """Connect to it; raises `CannotConnect`."""
    if record.transport == "unix":
        return await connect_unix(record.address)
    if not record.address or record.token_file is None:
        raise CannotConnect("its port is not known")
    return await connect_tcp(record.address, _token(record.token_file))


def _token(file: str) -> str:
    try:
        return Path(file).read_text(encoding="ascii")
    except OSError as error:
        raise CannotConnect(f"its token cannot be read: {error}") from error


def tidy(record: Record) -> None:
    """Remove the files of a process that is gone."""
    if record.token_file is not None:
        Path(record.token_file).unlink(missing_ok=True)
    if record.transport == "unix":
        Path(record.address).unlink(missing_ok=True)


def shorten_log(folder: Path) -> None:
    """Cut a log that grew too long; its end goes to a second file. It is open for appending, so
    its writer goes on at the new end."""
    log = folder / LOG_NAME
    try:
        size = log.stat().st_size
        if size <= MAX_LOG_BYTES:
            return
        with log.open("rb") as file:
            file.seek(size - KEPT_LOG_BYTES)
            kept = file.read(KEPT_LOG_BYTES)
        with open(folder / OLD_LOG_NAME, "wb", opener=_private) as old:
            old.write(kept)
        os.truncate(log, 0)
    except FileNotFoundError:
        return


def _command(record: Record) -> list[str]:
    listen = [record.binary, "app-server", "--listen"]
    if record.transport == "unix":
        return [*listen, f"unix://{record.address}"]
    auth = ["--ws-auth", "capability-token", "--ws-token-file", record.token_file or ""]
    return [*listen, "ws://127.0.0.1:0", *auth]


def _socket_path(folder: Path, name: str) -> str:
    """In the folder, or, when that is too deep for the system, in a private temporary one."""
    if sys.platform == "win32":
        raise AssertionError("Codex listens on TCP there")
    path = str(folder / f"app-server-{name}.sock")
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
        return path
    name = f"{hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]}-{name}.sock"
    short = Path(tempfile.gettempdir()) / f"codex-control-plane-{os.getuid()}"
    if len(os.fsencode(short / name)) > MAX_SOCKET_PATH_BYTES:
        short = Path("/tmp") / short.name  # noqa: S108  # checked below to be ours alone
    make_private_folder(str(short))
    if short.stat().st_uid != os.getuid() or short.stat().st_mode & 0o077:
        raise AppServerUnavailable(f"{short} is not private to this user; remove it")
    return str(short / name)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
