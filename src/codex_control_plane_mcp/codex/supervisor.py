"""Which app-server we speak to: the one that runs already, Codex's own shared one, or a new one.

At most one of ours is started for a state folder, however many ask at once: the starter holds an
operating-system lock, and a record says which process it was. We attach only to what answers, and
end only what we can prove to have started: the recorded pid must have the recorded start. Ending
means asking: Codex then finishes its turns. Nothing here ever kills.

Modes: `private` is ours alone; `shared` is Codex's daemon, which we never start; `auto` is ours if
it runs, else the daemon if it answers, else ours; `stdio` is a child that dies with us.
"""

import logging
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import anyio
import anyio.to_thread

from codex_control_plane_mcp.codex.binary import find_binary
from codex_control_plane_mcp.codex.errors import AppServerUnavailable
from codex_control_plane_mcp.codex.launch import (
    LOG_NAME,
    Launched,
    dial,
    launch,
    planned,
    shorten_log,
    tidy,
)
from codex_control_plane_mcp.codex.record import (
    Record,
    forget_record,
    read_record,
    write_record,
)
from codex_control_plane_mcp.codex.session import (
    AppServerIdentity,
    CodexSession,
    OnUnclaimed,
    Whereabouts,
    ignore_unclaimed,
    open_session,
)
from codex_control_plane_mcp.locks import FileLock
from codex_control_plane_mcp.model.ids import AppServerId
from codex_control_plane_mcp.paths import make_private_folder
from codex_control_plane_mcp.processes import Identity, identity_of, is_alive, terminate
from codex_control_plane_mcp.rpc.beside import beside
from codex_control_plane_mcp.rpc.stdio import running_child
from codex_control_plane_mcp.rpc.websocket import CannotConnect, WebSocketWire, connect_unix

logger = logging.getLogger(__name__)

Mode = Literal["auto", "private", "shared", "stdio"]
Transport = Literal["unix", "ws"]

#: Codex listens after 35 ms. The bound is for a cold disk and a loaded machine.
START_SECONDS = 30.0
#: For a recorded process that lives but does not answer: it may just begin or end.
ANSWER_SECONDS = 5.0
#: For a record without a pid: its writer died while starting, so its child is a moment old.
ORPHAN_SECONDS = 1.0
FIRST_PAUSE_SECONDS = 0.005
LONGEST_PAUSE_SECONDS = 0.1
#: A process is looked at this often while we wait for its end.
END_PAUSE_SECONDS = 0.05
LOG_CHECK_SECONDS = 10.0

LOCK_NAME = "app-server.lock"
SHARED_SOCKET = Path("app-server-control") / "app-server-control.sock"


@dataclass(frozen=True, slots=True)
class Status:
    """What is known without speaking to it."""

    mode: Mode
    #: Whether the process lives; `None`: nothing of ours is recorded and nothing is connected.
    alive: bool | None
    process: Identity | None
    version: str | None
    transport: str | None
    address: str | None
    #: Ours, or Codex's shared one.
    owned: bool
    binary: str | None
    log_file: str


class Supervisor:
    """Connects, starting what must be started. May be used from many tasks and processes."""

    def __init__(
        self,
        *,
        codex_home: Path,
        folder: Path,
        mode: Mode = "auto",
        binary: str | None = None,
        transport: Transport = "ws" if sys.platform == "win32" else "unix",
        environ: Mapping[str, str] = os.environ,
        on_unclaimed: OnUnclaimed = ignore_unclaimed,
    ) -> None:
        self.mode = mode
        self._codex_home = codex_home
        self._folder = folder
        self._binary = binary
        self._transport = transport
        self._environ = environ
        self._on_unclaimed = on_unclaimed
        self._connected: AppServerIdentity | None = None

    # Connecting

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[CodexSession]:
        """A session, for as long as this lasts. Leaving hangs up; the app-server goes on, except
        on stdio. When the line drops, `session.lost` is set: leave, and connect again."""
        opening = self._on_stdio() if self.mode == "stdio" else self._over_a_socket()
        async with opening as session:
            self._connected = session.app_server
            yield session

    @asynccontextmanager
    async def _on_stdio(self) -> AsyncIterator[CodexSession]:
        binary = find_binary(self._binary, self._environ)
        env = {**self._environ, "CODEX_HOME": str(self._codex_home)}
        async with running_child([str(binary), "app-server"], env) as wire:
            whereabouts = Whereabouts("stdio", None, owned=True, process=identity_of(wire.pid))
            async with open_session(wire, whereabouts, self._on_unclaimed) as session:
                yield session

    @asynccontextmanager
    async def _over_a_socket(self) -> AsyncIterator[CodexSession]:
        try:
            make_private_folder(str(self._folder))
            wire, whereabouts = await self._reached()
        except OSError as error:
            raise AppServerUnavailable(f"cannot use {self._folder}: {error}") from error
        async with (
            open_session(wire, whereabouts, self._on_unclaimed) as session,
            beside(self._keep_log_short),
        ):
            self._complete_record(session.app_server)
            yield session

    async def _reached(self) -> tuple[WebSocketWire, Whereabouts]:
        if self.mode != "shared" and (wire := await self._attached(read_record(self._folder))):
            return wire
        if self.mode != "private" and (wire := await self._attached_to_shared()):
            return wire
        if self.mode == "shared":
            raise AppServerUnavailable(
                f"Codex's shared app-server does not answer on {self._shared_socket}; start it with"
                " `codex app-server daemon start`, or set app_server to auto or private"
            )
        async with self._starting():
            # Somebody may have started one while we waited for our turn.
            return await self._attached(read_record(self._folder)) or await self._started()

    async def _attached(self, record: Record | None) -> tuple[WebSocketWire, Whereabouts] | None:
        """The recorded app-server, when its process is provably the recorded one and answers."""
        if record is None or (record.process is not None and not is_alive(record.process)):
            return None
        patience = ANSWER_SECONDS if record.process else ORPHAN_SECONDS
        pause = FIRST_PAUSE_SECONDS
        with anyio.move_on_after(patience):
            while record.process is None or is_alive(record.process):
                try:
                    return await dial(record), _whereabouts(record)
                except CannotConnect:
                    await anyio.sleep(pause)
                    pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            return None
        if record.process is None:
            return None
        raise AppServerUnavailable(
            f"the app-server (pid {record.process.pid}) runs but does not answer; it may hold"
            " running turns, so no second one was started: wait, or restart it"
        )

    @property
    def _shared_socket(self) -> Path:
        return self._codex_home / SHARED_SOCKET

    async def _attached_to_shared(self) -> tuple[WebSocketWire, Whereabouts] | None:
        # Codex listens elsewhere and leaves a symlink; its target is short enough to connect to.
        try:
            address = str(self._shared_socket.resolve(strict=True))
            return await connect_unix(address), Whereabouts("unix", address, owned=False)
        except (OSError, CannotConnect):
            return None

    # Starting

    @asynccontextmanager
    async def _starting(self) -> AsyncIterator[None]:
        """One starter at a time, over all processes."""
        lock = FileLock(str(self._folder / LOCK_NAME))
        pause = FIRST_PAUSE_SECONDS
        with anyio.move_on_after(START_SECONDS):
            while not lock.acquire(blocking=False):
                await anyio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
        if not lock.held:
            raise AppServerUnavailable(f"{lock.path} has been held for {START_SECONDS:g} s; retry")
        try:
            yield
        finally:
            lock.release()

    async def _started(self) -> tuple[WebSocketWire, Whereabouts]:
        if (old := read_record(self._folder)) is not None:
            tidy(old)
        binary = find_binary(self._binary, self._environ)
        plan = planned(self._folder, binary, self._codex_home, self._transport)
        write_record(self._folder, plan)
        try:
            launched = launch(self._folder, plan, self._environ)
        except OSError as error:
            raise AppServerUnavailable(f"cannot start {binary}: {error}") from error
        process = identity_of(launched.pid)
        if process is None:
            raise _died(launched)
        record = plan.of(process)
        write_record(self._folder, record)
        logger.info("started app-server pid %d of %s", process.pid, binary)
        return await self._ready(record, launched)

    async def _ready(self, record: Record, launched: Launched) -> tuple[WebSocketWire, Whereabouts]:
        pause = FIRST_PAUSE_SECONDS
        with anyio.move_on_after(START_SECONDS):
            while launched.exit_status is None:
                if record.transport == "ws" and not record.address:
                    record = self._with_printed_url(record, launched)
                try:
                    return await dial(record), _whereabouts(record)
                except CannotConnect:
                    await anyio.sleep(pause)
                    pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            raise _died(launched)
        raise AppServerUnavailable(
            f"the app-server was started (pid {launched.pid}) but does not listen yet; retry, and"
            f" see {self._folder / LOG_NAME}"
        )

    def _with_printed_url(self, record: Record, launched: Launched) -> Record:
        url = launched.printed_url()
        if url is None:
            return record
        record = replace(record, address=url)
        write_record(self._folder, record)
        return record

    def _complete_record(self, app_server: AppServerIdentity) -> None:
        """Say what only the handshake could tell: the version, and an orphan's process."""
        record = read_record(self._folder)
        if not app_server.owned or record is None or record.address != app_server.address:
            return
        told = replace(record, version=app_server.version, process=app_server.process)
        if told != record:
            write_record(self._folder, told)

    async def _keep_log_short(self) -> None:
        while True:
            await anyio.to_thread.run_sync(shorten_log, self._folder)
            await anyio.sleep(LOG_CHECK_SECONDS)

    # Ending

    async def drain(self, patience_seconds: float = 30.0) -> bool:
        """Ask our app-server to end after its turns; whether it is gone within the patience.

        From now on `connect` starts another one: two may run different threads of one CODEX_HOME.
        A shared one, or one that is not provably ours, is never touched. Windows cannot ask, only
        end: there call this only while no turn runs (see `CodexSession.diagnostics`).
        """
        record = read_record(self._folder)
        if record is None or record.process is None:
            return True
        async with self._starting():
            if read_record(self._folder) == record:
                forget_record(self._folder)
            terminate(record.process)
        gone = await self._gone(record.process, patience_seconds)
        if gone:
            tidy(record)
        return gone

    async def _gone(self, process: Identity, patience_seconds: float) -> bool:
        with anyio.move_on_after(patience_seconds):
            while is_alive(process):  # noqa: ASYNC110 - nothing tells us when a stranger ends
                await anyio.sleep(END_PAUSE_SECONDS)
        return not is_alive(process)

    # Looking

    def status(self) -> Status:
        """Facts from the record and the last connection; starts nothing, asks nobody."""
        record = None if self.mode == "shared" else read_record(self._folder)
        log_file = str(self._folder / LOG_NAME)
        if record is not None:
            alive = None if record.process is None else is_alive(record.process)
            return Status(
                self.mode,
                alive,
                record.process,
                record.version,
                record.transport,
                record.address,
                owned=True,
                binary=record.binary,
                log_file=log_file,
            )
        seen = self._connected
        process = seen.process if seen else None
        return Status(
            self.mode,
            is_alive(process) if process else None,
            process,
            seen.version if seen else None,
            seen.transport if seen else None,
            seen.address if seen else None,
            owned=bool(seen and seen.owned),
            binary=None,
            log_file=log_file,
        )


def may_be_alive(app_server_id: AppServerId) -> bool:
    """Whether the process that an `AppServerIdentity.id` names may still run its turns.

    While it may, what another app-server says about its turns is no evidence.
    """
    pid, at, started_at = app_server_id.partition("@")
    if not at or not pid.isdecimal():
        return True
    return is_alive(Identity(int(pid), started_at))


def _whereabouts(record: Record) -> Whereabouts:
    return Whereabouts(record.transport, record.address, owned=True, process=record.process)


def _died(launched: Launched) -> AppServerUnavailable:
    said = launched.output()[-2000:].decode(errors="replace").strip()
    return AppServerUnavailable(
        f"the app-server ended at once (exit status {launched.exit_status}): {said or 'no output'}"
    )
