"""An exclusive lock between processes, kept by the operating system.

The system releases it when its holder dies, however it dies, so there is no stale lock to clean
up. The file itself says nothing and is never deleted: deleting it would let two holders in, one on
the old file and one on the new.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType


class FileLock:
    """One lock on one path. Two `FileLock`s on a path exclude each other, also in one process."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd: int | None = None

    @property
    def held(self) -> bool:
        return self._fd is not None

    def acquire(self, *, blocking: bool = True) -> bool:
        """Take the lock; without `blocking`, say at once whether it was free."""
        if self._fd is not None:
            raise RuntimeError(f"{self.path} is already locked by this FileLock")
        # Python opens files as not inheritable: a child cannot keep the lock alive by accident.
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        taken = False
        try:
            taken = _lock(fd, blocking=blocking)
        finally:
            if not taken:
                os.close(fd)
        if taken:
            self._fd = fd
        return taken

    def release(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            _unlock(fd)
            os.close(fd)

    def fileno(self) -> int:
        """The descriptor that holds the lock. A child that is given it holds the lock as well, and
        goes on holding it when this process is killed."""
        if self._fd is None:
            raise RuntimeError(f"{self.path} is not locked by this FileLock")
        return self._fd

    def __enter__(self) -> FileLock:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def is_held(path: str) -> bool:
    """Does anybody hold this lock now? It may be taken or released right after the answer."""
    lock = FileLock(path)
    try:
        free = lock.acquire(blocking=False)
    except FileNotFoundError:  # not even its folder exists
        return False
    lock.release()
    return not free


if sys.platform == "win32":
    import errno
    import msvcrt

    def _lock(fd: int, *, blocking: bool) -> bool:
        while True:
            os.lseek(fd, 0, os.SEEK_SET)
            try:
                # LK_LOCK is not quite blocking: it gives up after ten tries, a second apart.
                msvcrt.locking(fd, msvcrt.LK_LOCK if blocking else msvcrt.LK_NBLCK, 1)
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EDEADLK):
                    raise
                if not blocking:
                    return False
            else:
                return True

    def _unlock(fd: int) -> None:
        os.lseek(fd, 0, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(fd: int, *, blocking: bool) -> bool:
        # flock, not lockf: a POSIX record lock is lost when *any* descriptor of the file closes.
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if blocking else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True

    def _unlock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_UN)
