"""What a process wrote to some files, and what it had synced, in order: read off its system calls.

strace sees what the kernel was asked, whatever SQLite or Python was built with. A call that would
change a watched file in a way not understood here is an error, so a record is never incomplete.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

#: A file of its own for each time that one is made, for a name may be used again.
FileNumber: TypeAlias = int


@dataclass(frozen=True, slots=True)
class Wrote:
    file: FileNumber
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Cut:
    """Made shorter or longer."""

    file: FileNumber
    size: int


@dataclass(frozen=True, slots=True)
class Synced:
    file: FileNumber


@dataclass(frozen=True, slots=True)
class Named:
    """A name now stands for this file; for none when it was deleted."""

    name: str
    file: FileNumber | None


@dataclass(frozen=True, slots=True)
class FolderSynced:
    pass


@dataclass(frozen=True, slots=True)
class Marked:
    """The process said something, for those who read the record."""

    text: str


Event: TypeAlias = Wrote | Cut | Synced | Named | FolderSynced | Marked


class NoStrace(Exception):
    """System calls cannot be recorded on this machine; the message says why."""


class Unreadable(Exception):
    """The record holds what this module does not understand."""


#: Bounds a recorded process that hangs.
LIFE_SECONDS: Final = 120

#: Every call by which Linux lets a file or a folder be changed. `?`: some machines lack some.
_CALLS: Final = (
    *("open", "openat", "openat2", "creat", "close", "dup", "dup2", "dup3", "fcntl", "lseek"),
    *("write", "writev", "pwrite64", "pwritev", "pwritev2", "truncate", "ftruncate", "fallocate"),
    *("copy_file_range", "sendfile", "splice", "mmap", "fsync", "fdatasync", "sync_file_range"),
    *("unlink", "unlinkat", "rename", "renameat", "renameat2", "link", "linkat"),
)
#: These name a file descriptor that they write to behind another.
_INTO_ANOTHER: Final = frozenset({"copy_file_range", "splice", "dup2", "dup3"})


def record(command: Sequence[str], where: Path, cwd: Path) -> None:
    """Run `command` to its end and leave the record of its system calls at `where`.

    Raises NoStrace where that cannot be.
    """
    strace = shutil.which("strace")
    if strace is None:
        raise NoStrace("there is no strace on this machine (Linux: apt-get install strace)")
    watched = ["-e", "trace=" + ",".join(f"?{call}" for call in _CALLS), "-e", "signal=none"]
    whole = ["-f", "--seccomp-bpf", "-qq", "-xx", "-s", str(1 << 24)]
    done = subprocess.run(
        [strace, *whole, *watched, "-o", str(where), "--", *command],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=LIFE_SECONDS,
        check=False,
    )
    if "PTRACE" in done.stderr and "ermitted" in done.stderr:
        raise NoStrace(f"this machine does not allow strace: {done.stderr.splitlines()[0]}")
    if done.returncode != 0:
        raise AssertionError(f"the recorded process failed:\n{done.stderr}")


def read_record(where: Path, folder: Path, prefix: str, marks: str) -> Iterator[Event]:
    """The events of the files in `folder` whose name begins with `prefix`; what was written to the
    file `marks` is what was said."""
    reader = _Reader(folder.as_posix(), prefix, marks)
    with where.open(encoding="ascii") as lines:
        for line in lines:
            yield from reader.read(line)


@dataclass(slots=True)
class _Open:
    """A file descriptor that is watched."""

    #: None: the folder itself; a text: the marks.
    file: FileNumber | str | None
    name: str
    position: int = 0


_LINE = re.compile(r"^\d+ +(\w+)\((.*)\) += (-?\d+|0x[0-9a-f]+|\?)")
_HALF = re.compile(r"^\d+ +\w+\((.*) <unfinished")
_NUMBERS = re.compile(r"\b\d+\b")
_FD = re.compile(r"^(\d+)(?:,|$)")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')


class _Reader:
    def __init__(self, folder: str, prefix: str, marks: str) -> None:
        self._folder = folder
        self._prefix = prefix
        self._marks = marks
        self._open: dict[int, _Open] = {}
        self._names: dict[str, FileNumber] = {}
        self._made = 0

    def read(self, line: str) -> Iterator[Event]:
        found = _LINE.match(line)
        if found is None:
            self._refuse_half(line)
            return
        call, arguments, result = found.groups()
        if result.startswith("-") or result == "?":
            return
        fd = _FD.match(arguments)
        opened = self._open.get(int(fd[1])) if fd else None
        if opened is not None:
            yield from self._on_file(call, arguments, int(result, 0), opened, line)
        elif self._concerns(line):
            yield from self._on_name(call, arguments, int(result, 0), line)
        elif call == "mmap":
            self._refuse_mapping(arguments, line)
        elif call in _INTO_ANOTHER and self._open.keys() & map(int, _NUMBERS.findall(arguments)):
            raise Unreadable(line[:200])

    def _refuse_half(self, line: str) -> None:
        """Two threads cut each other's lines in two; the recorded process has one that writes."""
        half = _HALF.match(line)
        fd = _FD.match(half[1]) if half else None
        if half and (self._concerns(line) or (fd and int(fd[1]) in self._open)):
            raise Unreadable(f"two threads at once: {line[:200]}")

    def _concerns(self, line: str) -> bool:
        return any(self._watches(path) for path in _texts(line) if path.startswith(b"/"))

    def _watches(self, path: bytes) -> bool:
        folder, _, name = path.decode(errors="replace").rpartition("/")
        inside = folder == self._folder and (name.startswith(self._prefix) or name == self._marks)
        return inside or path.decode(errors="replace") == self._folder

    def _on_name(self, call: str, arguments: str, result: int, line: str) -> Iterator[Event]:
        path = _texts(arguments)[0].decode()
        name = path.rpartition("/")[2]
        match call:
            case "open" | "openat" if path == self._folder:
                self._open[result] = _Open(None, name)
            case "open" | "openat" if name == self._marks:
                self._open[result] = _Open(name, name)
            case "open" | "openat":
                if name not in self._names:
                    self._made += 1
                    self._names[name] = self._made
                    yield Named(name, self._made)
                if "O_TRUNC" in arguments:
                    yield Cut(self._names[name], 0)
                if "O_APPEND" in arguments:
                    raise Unreadable(line[:200])
                self._open[result] = _Open(self._names[name], name)
            case "unlink" | "unlinkat":
                del self._names[name]
                yield Named(name, None)
            case _:
                raise Unreadable(line[:200])

    def _on_file(
        self, call: str, arguments: str, result: int, opened: _Open, line: str
    ) -> Iterator[Event]:
        match call, opened.file:
            case "close", _:
                del self._open[_number(arguments, 0)]
            case (("fsync" | "fdatasync"), None):
                yield FolderSynced()
            case (("fsync" | "fdatasync"), int(file)):
                yield Synced(file)
            case "lseek", _:
                opened.position = result
            case "write", str():
                yield from (Marked(one) for one in _data(arguments, result).decode().splitlines())
            case "write", int(file):
                yield Wrote(file, opened.position, _data(arguments, result))
                opened.position += result
            case "pwrite64", int(file):
                yield Wrote(file, _number(arguments, -1), _data(arguments, result))
            case "ftruncate", int(file):
                yield Cut(file, _number(arguments, -1))
            case "fcntl", _ if "F_DUPFD" not in arguments:
                pass
            case _:
                raise Unreadable(line[:200])

    def _refuse_mapping(self, arguments: str, line: str) -> None:
        """Writes through memory are not seen. The index of the log is made anew from the log by
        the first who opens the book, so what it held does not matter; of no other file is that
        so."""
        _, _, access, sharing, fd, *_ = arguments.split(", ")
        opened = self._open.get(int(fd)) if fd.isdigit() else None
        is_written = "PROT_WRITE" in access and "MAP_PRIVATE" not in sharing
        if opened is not None and is_written and not opened.name.endswith("-shm"):
            raise Unreadable(line[:200])


def _texts(line: str) -> list[bytes]:
    return [_bytes(found[1]) for found in _TEXT.finditer(line)]


def _data(arguments: str, written: int) -> bytes:
    found = _TEXT.search(arguments)
    if found is None or found[2]:
        raise Unreadable(f"not the whole of what was written: {arguments[:200]}")
    return _bytes(found[1])[:written]


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _number(arguments: str, place: int) -> int:
    return int(arguments.split(", ")[place], 0)
