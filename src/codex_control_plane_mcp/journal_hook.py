"""Codex runs this when a turn begins and ends: it puts what Codex says into a folder, as it is.

It is started by its path, `python -I -S journal_hook.py --state-db PATH`, so nothing of this
package is imported, and no `json` either: the worker reads what lies there, whenever it runs. It
must never be in the way of a turn: it prints nothing, leaves with 0 whatever happens, and takes
no more than a second or two, and a megabyte.
"""

# pathlib would cost more to import than everything else here.
# ruff: noqa: PTH102, PTH105, PTH108, PTH118, PTH208

import os
import sys
import time

#: Longer input is not kept: the longest prompt that is taken, in any script, fits.
MAX_BYTES = 1 << 20
#: So many wait for a worker at most. More mean that none will come.
MAX_WAITING = 4096
#: Codex has written and closed its end before this is even loaded.
READ_SECONDS = 2.0

#: What lies in the folder complete; anything else is still being written.
COMPLETE = ".json"
DRAFT = ".part"


def spool_of(state_db: str) -> str:
    """The folder, beside the state."""
    return f"{state_db}.hooks"


def main(argv: list[str]) -> None:
    """Keep what standard input says, for the state of `--state-db PATH`."""
    _, option, state_db = argv
    if option == "--state-db" and (told := _told()):
        _keep(spool_of(state_db), told)


def _told() -> bytes:
    """All of standard input; nothing when it is too long or does not end in time."""
    parts: list[bytes] = []
    size = 0
    give_up_at = time.monotonic() + READ_SECONDS
    while _can_read(give_up_at):
        chunk = os.read(0, 1 << 16)
        if not chunk:
            return b"".join(parts)
        size += len(chunk)
        # Read on all the same: Codex takes a closed pipe for a broken hook.
        if size <= MAX_BYTES:
            parts.append(chunk)
        else:
            parts.clear()
    return b""


def _can_read(until: float) -> bool:
    left = until - time.monotonic()
    if left <= 0:
        return False
    if os.name != "posix":
        return True  # Pipes cannot be waited for there; Codex has a limit of its own.
    import select

    return bool(select.select([0], [], [], left)[0])


def _keep(folder: str, told: bytes) -> None:
    try:
        waiting = len(os.listdir(folder))
    except FileNotFoundError:
        os.mkdir(folder, 0o700)
        waiting = 0
    if waiting >= MAX_WAITING:
        return
    # In the order they came; the name is also how the worker knows what it has.
    name = os.path.join(folder, f"{time.time_ns():020d}-{os.urandom(4).hex()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    file = os.open(name + DRAFT, flags, 0o600)
    try:
        while told:
            told = told[os.write(file, told) :]
    except OSError:
        os.close(file)
        os.unlink(name + DRAFT)
        return
    os.close(file)
    os.replace(name + DRAFT, name + COMPLETE)


if __name__ == "__main__":
    try:
        main(sys.argv)
    except BaseException:  # noqa: BLE001, S110  # a border: a turn is worth more than its journal
        pass
    finally:
        # At once: nothing is left to be tidied up.
        os._exit(0)
