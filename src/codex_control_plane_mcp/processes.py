"""Proof that a process is ours: a process id together with the moment its process started.

A pid alone proves nothing, since the system gives it to a stranger once its process is gone. Only
a process whose start matches the recorded one is ours, and only such a one is ever ended here.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil


@dataclass(frozen=True, slots=True)
class Identity:
    """One process, for as long as the machine can tell it from every other."""

    pid: int
    #: When it started, as a stamp that is only ever compared. On Linux it counts from boot, since
    #: the start in wall-clock time moves whenever the clock is set.
    started_at: str


def identity_of(pid: int) -> Identity | None:
    """The identity of the process that has this pid now; None when there is none to see."""
    found = _find(pid)
    return None if found is None else found[0]


def is_alive(identity: Identity) -> bool:
    """Does this very process still run? A zombie does not, nor does a stranger on its pid."""
    return _find_ours(identity) is not None


def terminate(identity: Identity) -> bool:
    """Ask this very process to end (on Windows: end it). False: it is gone, nothing was touched.

    A stranger on the same pid counts as gone.
    """
    import psutil

    process = _find_ours(identity)
    if process is None:
        return False
    try:
        process.terminate()  # psutil compares the start once more before it signals
    except psutil.NoSuchProcess:
        return False
    return True


def kill(identity: Identity) -> bool:
    """End this very process at once, whatever it does. False: it is gone, nothing was touched."""
    import psutil

    process = _find_ours(identity)
    if process is None:
        return False
    try:
        process.kill()  # psutil compares the start once more
    except psutil.NoSuchProcess:
        return False
    return True


def started_when(identity: Identity) -> float | None:
    """When this very process started, in seconds since 1970 as far as the clock was right then;
    None: it is gone."""
    import psutil

    process = _find_ours(identity)
    if process is None:
        return None
    try:
        return process.create_time()
    except psutil.Error:
        return None


def _find_ours(identity: Identity) -> psutil.Process | None:
    found = _find(identity.pid)
    return None if found is None or found[0] != identity else found[1]


def _find(pid: int) -> tuple[Identity, psutil.Process] | None:
    import psutil

    if pid <= 0:  # the system's own, or a group when signalled: never one of ours
        return None
    try:
        process = psutil.Process(pid)
        stamp = _start_stamp(process)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
    except (psutil.NoSuchProcess, psutil.AccessDenied, OverflowError):
        return None
    return Identity(pid, stamp), process


def _start_stamp(process: psutil.Process) -> str:
    if sys.platform == "linux" and (stamp := _linux_stamp(process.pid)):
        return stamp
    return f"epoch:{process.create_time():.6f}"


def _linux_stamp(pid: int) -> str | None:
    """Boot id and clock ticks since boot, from /proc; None where /proc is not to be read."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
    # The command name may hold spaces and brackets: count fields from its last bracket. proc(5)
    # numbers the start time 22, and the first field behind the name 3.
    ticks = stat.rpartition(b")")[2].split()[22 - 3].decode("ascii")
    return f"boot:{boot}:{ticks}"
