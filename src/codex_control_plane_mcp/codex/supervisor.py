"""Which app-server we speak to: the one that runs already, Codex's own shared one, or a new one.

At most one of ours is started for a state folder, however many ask at once: the starter holds an
operating-system lock, and a record says which process it was. We attach only to what answers, and
end only what we can prove to have started: the recorded pid must have the recorded start. Ending
means asking: Codex then finishes its turns. Only where somebody insists (`end_by_force`) is one
that does not end killed.

When another Codex is installed, new work goes to a fresh app-server and the former one is retired:
it keeps its turns, is reached by its id, and is ended when it has no turn left. A version that
speaks another language than we do (`contract`) is not started; the former one then goes on.

Modes: `private` is ours alone; `shared` is Codex's daemon, which we never start; `auto` is ours if
it runs, else the daemon if it answers, else ours; `stdio` is a child that dies with us.
"""

import logging
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import anyio
import anyio.to_thread

from codex_control_plane_mcp.codex.binary import Stamp, find_binary, stamp_of
from codex_control_plane_mcp.codex.contract import Fit
from codex_control_plane_mcp.codex.errors import (
    AppServerUnavailable,
    BinaryNotFound,
    CodexError,
    NotSupported,
    UnfitCodex,
)
from codex_control_plane_mcp.codex.judging import Judge, Judgement
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
    retired_name,
    retired_records,
    write_record,
)
from codex_control_plane_mcp.codex.session import (
    AppServerIdentity,
    CodexSession,
    OnUnclaimed,
    Whereabouts,
    app_server_id,
    ignore_unclaimed,
    open_session,
)
from codex_control_plane_mcp.locks import FileLock
from codex_control_plane_mcp.model.ids import AppServerId
from codex_control_plane_mcp.paths import make_private_folder
from codex_control_plane_mcp.processes import Identity, identity_of, is_alive, kill, terminate
from codex_control_plane_mcp.rpc.beside import beside
from codex_control_plane_mcp.rpc.stdio import running_child
from codex_control_plane_mcp.rpc.websocket import CannotConnect, WebSocketWire, connect_unix

logger = logging.getLogger(__name__)

Mode = Literal["auto", "private", "shared", "stdio"]
Transport = Literal["unix", "ws"]
Reached = tuple[WebSocketWire, Whereabouts]

#: Codex listens after 35 ms. The bound is for a cold disk and a loaded machine.
START_SECONDS = 30.0
#: For a recorded process that lives but does not answer: it may just begin or end.
ANSWER_SECONDS = 15.0
#: For a record without a pid: its writer died while starting, so its child is a moment old.
ORPHAN_SECONDS = 1.0
FIRST_PAUSE_SECONDS = 0.005
LONGEST_PAUSE_SECONDS = 0.1
#: A process is looked at this often while we wait for its end.
END_PAUSE_SECONDS = 0.05
LOG_CHECK_SECONDS = 10.0
#: A killed process ends at once, but where the disk does not let it.
KILLED_SECONDS = 5.0

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
    #: App-servers of a former Codex that still have turns, or are about to end.
    retired: tuple[Identity, ...] = ()
    #: How the Codex that runs goes with us, or the installed one when none runs; `None`: no Codex
    #: of ours was looked at yet.
    fit: Fit | None = None
    #: Why the installed Codex is not taken into service, and what to do.
    passed_over: str | None = None
    #: The Codex that would be started, or why there is none, and what to do.
    installed: Stamp | None = None
    missing: str | None = None
    #: It, as far as it was asked already.
    judgement: Judgement | None = None


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
        self._judge = Judge(folder, {**environ, "CODEX_HOME": str(codex_home)})
        self._sessions: set[CodexSession] = set()
        #: Binaries that could not be taken into service, and why: not tried again while another
        #: app-server does the work.
        self._failed: dict[Stamp, str] = {}

    # Connecting

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[CodexSession]:
        """A session for new work, for as long as this lasts. Leaving hangs up; the app-server goes
        on, except on stdio. When the line drops, `session.lost` is set: leave, and connect again.
        The same when `session.takes_new_work` is false and there is new work."""
        opening = self._on_stdio() if self.mode == "stdio" else self._over_a_socket(self._reached)
        async with opening as session:
            self._connected = session.app_server
            yield session

    @asynccontextmanager
    async def connect_to(self, owner: AppServerId) -> AsyncIterator[CodexSession]:
        """A session with the app-server of this id, retired or not. Starts nothing."""
        async with self._over_a_socket(partial(self._reached_owner, owner)) as session:
            if session.app_server.id != owner:
                raise _unknown(owner)
            yield session

    @asynccontextmanager
    async def _on_stdio(self) -> AsyncIterator[CodexSession]:
        self._make_folder()
        stamp = await self._fit_binary()
        env = {**self._environ, "CODEX_HOME": str(self._codex_home)}
        async with running_child([stamp.path, "app-server"], env) as wire:
            whereabouts = Whereabouts(
                "stdio",
                None,
                owned=True,
                process=identity_of(wire.pid),
                is_superseded=lambda: self._is_outdated(stamp),
            )
            async with open_session(wire, whereabouts, self._on_unclaimed) as session:
                yield session

    @asynccontextmanager
    async def _over_a_socket(
        self, reach: Callable[[], Awaitable[Reached]]
    ) -> AsyncIterator[CodexSession]:
        self._make_folder()
        try:
            wire, whereabouts = await reach()
        except OSError as error:
            raise AppServerUnavailable(f"cannot use {self._folder}: {error}") from error
        async with (
            open_session(wire, whereabouts, self._on_unclaimed) as session,
            beside(self._keep_log_short),
        ):
            self._complete_record(session.app_server)
            self._sessions.add(session)
            try:
                yield session
            finally:
                self._sessions.discard(session)

    def _make_folder(self) -> None:
        try:
            make_private_folder(str(self._folder))
        except OSError as error:
            raise AppServerUnavailable(f"cannot use {self._folder}: {error}") from error

    async def _reached(self) -> Reached:
        record = None if self.mode == "shared" else read_record(self._folder)
        if record is not None and (reached := await self._still_current(record)):
            return reached
        may_share = self.mode == "shared" or (
            self.mode == "auto" and not self._is_drained(owned=False)
        )
        if may_share and (reached := await self._attached_to_shared()):
            return reached
        if self.mode == "shared":
            raise AppServerUnavailable(
                f"Codex's shared app-server does not answer on {self._shared_socket}; start it with"
                " `codex app-server daemon start`, or set app_server to auto or private"
            )
        async with self._starting():
            # Somebody may have started one while we waited for our turn.
            record = read_record(self._folder)
            if record is None:
                return await self._started()
            return await self._still_current(record) or await self._succeeded(record)

    async def _still_current(self, record: Record) -> Reached | None:
        return None if await self._has_successor(record) else await self._attached(record)

    async def _reached_owner(self, owner: AppServerId) -> Reached:
        for record in (read_record(self._folder), *retired_records(self._folder)):
            is_owner = record and record.process and app_server_id(record.process) == owner
            if record and is_owner and (reached := await self._attached(record)):
                return reached
        if self.mode in ("auto", "shared") and (reached := await self._attached_to_shared()):
            return reached
        raise _unknown(owner)

    async def _attached(self, record: Record) -> Reached | None:
        """The recorded app-server, when its process is provably the recorded one and answers."""
        if record.process is not None and not is_alive(record.process):
            return None
        patience = ANSWER_SECONDS if record.process else ORPHAN_SECONDS
        pause = FIRST_PAUSE_SECONDS
        with anyio.move_on_after(patience):
            while record.process is None or is_alive(record.process):
                try:
                    return await dial(record), self._whereabouts(record)
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

    def _whereabouts(self, record: Record) -> Whereabouts:
        return Whereabouts(
            record.transport,
            record.address,
            owned=True,
            process=record.process,
            is_superseded=lambda: self._is_superseded(record),
        )

    async def _attached_to_shared(self) -> Reached | None:
        # Codex listens elsewhere and leaves a symlink; its target is short enough to connect to.
        try:
            address = str(self._shared_socket.resolve(strict=True))
            return await connect_unix(address), Whereabouts("unix", address, owned=False)
        except (OSError, CannotConnect):
            return None

    # Succession

    def _is_superseded(self, record: Record) -> bool:
        """Whether new work goes elsewhere, as far as a look at some files tells."""
        process = record.process
        if process is not None and (self._folder / retired_name(process)).exists():
            return True
        return self._is_outdated(record.stamp)

    def _is_outdated(self, running: Stamp | None) -> bool:
        """Whether another Codex is installed by now that may be used, or was not judged yet."""
        installed = self._installed()
        if installed is None or running is None or installed == running:
            return False
        if installed in self._failed:
            return False
        judgement = self._judge.known(installed)
        return judgement is None or judgement.refusal is None

    async def _has_successor(self, record: Record) -> bool:
        """Whether new work is to go to another app-server than the recorded one, which runs."""
        if record.process is None or not is_alive(record.process):
            return False
        if self._is_drained(process=record.process):
            return True
        if not self._is_outdated(record.stamp):
            return False
        try:
            await self._fit_binary()
        except (AppServerUnavailable, BinaryNotFound) as error:
            logger.warning("pid %d goes on: %s", record.process.pid, error)
            return False
        return True

    def _is_drained(self, *, process: Identity | None = None, owned: bool = True) -> bool:
        """Whether an app-server that we are connected to has said that it ends."""
        return any(
            session.is_draining
            and session.app_server.owned is owned
            and (process is None or session.app_server.process == process)
            for session in self._sessions
        )

    def _installed(self) -> Stamp | None:
        return self._looked_for()[0]

    def _looked_for(self) -> tuple[Stamp, None] | tuple[None, str]:
        """The installed Codex, or why there is none."""
        try:
            return stamp_of(find_binary(self._binary, self._environ)), None
        except BinaryNotFound as error:
            return None, str(error)

    async def _fit_binary(self) -> Stamp:
        """The binary to start. Raises UnfitCodex when it must not be; a binary that cannot even be
        asked is AppServerUnavailable."""
        stamp = stamp_of(find_binary(self._binary, self._environ))
        try:
            refusal = (await self._judge.judged(stamp)).refusal
        except AppServerUnavailable as error:
            self._failed[stamp] = str(error)
            raise
        if refusal is not None:
            raise UnfitCodex(refusal)
        self._failed.pop(stamp, None)
        return stamp

    async def _succeeded(self, record: Record) -> Reached:
        """A fresh app-server in the place of the recorded one, which keeps its turns; but if none
        can be started, the recorded one, which is then as good as any."""
        self._retire(record)
        try:
            return await self._started()
        except AppServerUnavailable as error:
            if not self._may_come_back(record):
                raise
            logger.warning("the former app-server goes on: %s", error)
            if (installed := self._installed()) is not None:
                self._failed[installed] = str(error)
            self._abandon()
            write_record(self._folder, record)
            if record.process is not None:
                forget_record(self._folder, retired_name(record.process))
            reached = await self._attached(record)
            if reached is None:
                raise
            return reached

    def _may_come_back(self, record: Record) -> bool:
        process = record.process
        return process is not None and is_alive(process) and not self._is_drained(process=process)

    def _abandon(self) -> None:
        """Let go of what was just started and did not come up; it has no turns."""
        fresh = read_record(self._folder)
        if fresh is not None and fresh.process is not None:
            terminate(fresh.process)
            tidy(fresh)

    def _retire(self, record: Record) -> None:
        """No new work for it; whoever has turns there finds it by its id."""
        if record.process is not None and is_alive(record.process):
            write_record(self._folder, record, retired_name(record.process))
            logger.info("retired app-server pid %d of %s", record.process.pid, record.binary)
        else:
            tidy(record)
        forget_record(self._folder)

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

    async def _started(self) -> Reached:
        stamp = await self._fit_binary()
        plan = planned(self._folder, stamp, self._codex_home, self._transport)
        write_record(self._folder, plan)
        try:
            launched = launch(self._folder, plan, self._environ)
        except OSError as error:
            raise AppServerUnavailable(f"cannot start {stamp.path}: {error}") from error
        process = identity_of(launched.pid)
        if process is None:
            raise _died(launched)
        record = plan.of(process)
        write_record(self._folder, record)
        logger.info("started app-server pid %d of %s", process.pid, stamp.path)
        return await self._ready(record, launched)

    async def _ready(self, record: Record, launched: Launched) -> Reached:
        pause = FIRST_PAUSE_SECONDS
        with anyio.move_on_after(START_SECONDS):
            while launched.exit_status is None:
                if record.transport == "ws" and not record.address:
                    record = self._with_printed_url(record, launched)
                try:
                    return await dial(record), self._whereabouts(record)
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

    @property
    def has_retired(self) -> bool:
        """Whether there is something to reap."""
        return bool(retired_records(self._folder))

    async def reap(self, in_use: Collection[AppServerId] = ()) -> bool:
        """End retired app-servers that have no turn left; whether any remains, to ask again later.

        `in_use`: those that somebody has turns with, or is about to. Beside that it must say
        itself that no turn runs: a person may have begun one.
        """
        if not self.has_retired:
            return False
        async with self._starting():
            for record in retired_records(self._folder):
                process = record.process
                current = read_record(self._folder)
                if process is None:
                    continue
                if current is not None and current.process == process:
                    # Whoever retired it died in between: it is as good as before.
                    forget_record(self._folder, retired_name(process))
                elif not is_alive(process):
                    self._bury(record)
                elif app_server_id(process) not in in_use and await self._is_idle(record):
                    self._tell_to_end(record)
        return self.has_retired

    async def _is_idle(self, record: Record) -> bool:
        """Whether it says that no turn runs. One that is too old to tell is believed idle."""
        if record.process is None or record.is_ending:
            return False
        try:
            with anyio.fail_after(ANSWER_SECONDS):
                async with self.connect_to(app_server_id(record.process)) as session:
                    return not (await session.diagnostics()).active_turns
        except NotSupported:
            return True
        except (CodexError, TimeoutError) as error:
            logger.info(
                "retired pid %d did not say whether it is idle: %s", record.process.pid, error
            )
            return False

    def _tell_to_end(self, record: Record) -> None:
        """Ask it, once, to end after its turns."""
        if record.process is not None and not record.is_ending and terminate(record.process):
            ending = replace(record, is_ending=True)
            write_record(self._folder, ending, retired_name(record.process))
            logger.info("told app-server pid %d to end", record.process.pid)

    def _bury(self, record: Record) -> None:
        """Remove what a process has left."""
        tidy(record)
        if record.process is not None:
            forget_record(self._folder, retired_name(record.process))

    async def drain(self, patience_seconds: float = 30.0) -> bool:
        """Ask our app-servers, retired ones too, to end after their turns; whether they are gone
        within the patience.

        From now on `connect` starts another one: two may run different threads of one CODEX_HOME.
        A shared one, or one that is not provably ours, is never touched. Windows cannot ask, only
        end: there call this only while no turn runs (see `CodexSession.diagnostics`).
        """
        current = read_record(self._folder)
        if (current is None or current.process is None) and not retired_records(self._folder):
            return True
        async with self._starting():
            current = read_record(self._folder)
            if current is not None and current.process is not None:
                self._retire(current)
            leaving = retired_records(self._folder)
            for record in leaving:
                self._tell_to_end(record)
        with anyio.move_on_after(patience_seconds):
            while any(map(_lives, leaving)):  # noqa: ASYNC110 - nothing tells us when it ends
                await anyio.sleep(END_PAUSE_SECONDS)
        for record in leaving:
            if not _lives(record):
                self._bury(record)
        return not any(map(_lives, leaving))

    async def end_by_force(self, patience_seconds: float) -> bool:
        """`drain`, and kill what then still runs; whether the app-server for new work is gone.

        Turns that run there are cut off; what Codex has stored of them stays. One that is not
        provably ours is not touched.
        """
        current = read_record(self._folder)
        if await self.drain(patience_seconds):
            return True
        if current is None or current.process is None or not is_alive(current.process):
            return True
        logger.warning("killing app-server pid %d, which did not end", current.process.pid)
        kill(current.process)
        with anyio.move_on_after(KILLED_SECONDS):
            while _lives(current):  # noqa: ASYNC110 - nothing tells us when it ends
                await anyio.sleep(END_PAUSE_SECONDS)
        if _lives(current):
            return False
        self._bury(current)
        return True

    # Looking

    def status(self) -> Status:
        """Facts from the record and the last connection; starts nothing, asks nobody."""
        record = None if self.mode == "shared" else read_record(self._folder)
        log_file = str(self._folder / LOG_NAME)
        retired = tuple(one.process for one in retired_records(self._folder) if one.process)
        installed, missing = self._looked_for()
        judgement = None if installed is None else self._judge.known(installed)
        # To the shared one it does not matter what is installed.
        concerned = self.mode != "shared"
        passed_over = self._why_passed_over(installed, judgement) if concerned else None
        fit = judgement.fit if judgement is not None and concerned else None
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
                retired=retired,
                fit=self._fit_of(record.stamp) if alive else fit,
                passed_over=passed_over,
                installed=installed,
                missing=missing,
                judgement=judgement,
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
            retired=retired,
            fit=fit,
            passed_over=passed_over,
            installed=installed,
            missing=missing,
            judgement=judgement,
        )

    async def judged(self) -> Judgement:
        """The installed Codex, asked for its schema if nobody did yet. Starts no app-server.

        Raises BinaryNotFound, or AppServerUnavailable when it cannot be asked.
        """
        self._make_folder()
        return await self._judge.judged(stamp_of(find_binary(self._binary, self._environ)))

    def known(self) -> Judgement | None:
        """The installed Codex, as far as it was asked already."""
        installed = self._installed()
        return None if installed is None else self._judge.known(installed)

    def _fit_of(self, stamp: Stamp | None) -> Fit | None:
        judgement = None if stamp is None else self._judge.known(stamp)
        return None if judgement is None else judgement.fit

    def _why_passed_over(self, installed: Stamp | None, judgement: Judgement | None) -> str | None:
        if installed is None:
            return None
        return (judgement and judgement.refusal) or self._failed.get(installed)


def may_be_alive(app_server_id: AppServerId) -> bool:
    """Whether the process that an `AppServerIdentity.id` names may still run its turns.

    While it may, what another app-server says about its turns is no evidence.
    """
    pid, at, started_at = app_server_id.partition("@")
    if not at or not pid.isdecimal():
        return True
    return is_alive(Identity(int(pid), started_at))


def _lives(record: Record) -> bool:
    return record.process is not None and is_alive(record.process)


def _unknown(owner: AppServerId) -> AppServerUnavailable:
    return AppServerUnavailable(f"app-server {owner} cannot be reached: it is not on record")


def _died(launched: Launched) -> AppServerUnavailable:
    said = launched.output()[-2000:].decode(errors="replace").strip()
    return AppServerUnavailable(
        f"the app-server ended at once (exit status {launched.exit_status}): {said or 'no output'}"
    )
