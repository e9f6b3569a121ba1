"""A real PostgreSQL for tests: the binaries of the `pgserver` wheel, started and stopped by us.

The wheel's own Python code is not used: as root it adds a system user and opens up every folder
above the data folder. Here a small shell starts the server, and stops it as soon as the tests are
gone, however they went.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg
from psycopg import sql

from codex_control_plane_mcp.store.book import opened
from codex_control_plane_mcp.store.engine import connect_postgres
from codex_control_plane_mcp.store.schema import metadata

if TYPE_CHECKING:
    # All of the product, which most tests here have no need of.
    from codex_control_plane_mcp.selftest.sweep import FreshDatabase

#: `initdb` takes about a second on an idle machine.
INITDB_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 30.0

#: Standard input ends with this process, also when that is killed, so nothing is left behind.
#: $0 is `pg_ctl`; the arguments are our folder, the data folder and the server's options.
UNTIL_STDIN_ENDS = """
if "$0" -D "$2" -l "$1/log" -o "$3" -t 60 -w start >/dev/null </dev/null
then echo ready; read -r _
else cat "$1/log"
fi
"$0" -D "$2" -m immediate -t 20 -w stop >/dev/null </dev/null
rm -rf "$1"
"""

#: Nothing that a test stores must outlive a power cut, so the server need not wait for the disk.
FAST = ("fsync=off", "full_page_writes=off")


@dataclass(frozen=True)
class Postgres:
    """A running server that listens on a private unix socket only."""

    #: The socket's folder.
    host: Path
    #: The postmaster, for tests that end it or its children.
    pid: int
    #: On 127.0.0.1, where it speaks TLS; it names the socket, too.
    port: int = 5432
    _numbers: Iterator[int] = field(default_factory=count, repr=False, compare=False)

    def url(self, database: str) -> str:
        """The database as SQLAlchemy names it."""
        return self.url_of("postgres", database).replace("://", "+psycopg://")

    def url_of(self, role: str, database: str) -> str:
        """The database for a role, as people write it."""
        return f"postgresql://{role}@:{self.port}/{database}?host={quote(str(self.host))}"

    @cache  # noqa: B019  # few servers, and each as long as its process
    def book(self) -> str:
        """The one book of this process on the server. Ask for it `emptied`."""
        url = self._create(f"book_{os.getpid()}")
        with opened(url):
            return url

    def book_of_each_process(self) -> FreshDatabase:
        """`book`, emptied, for whichever process asks."""
        return partial(_book_of_this_process, self.host, self.pid)

    @contextmanager
    def database(self) -> Iterator[str]:
        """A fresh, empty database as a URL; dropped at the end, whoever is still connected."""
        name = f"test_{next(self._numbers)}"
        try:
            yield self._create(name)
        finally:
            self._run(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def _create(self, database: str) -> str:
        named = sql.Identifier(database)
        self._run(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(named))
        return self.url(database)

    def _run(self, statement: sql.Composed) -> None:
        with self._connect() as connection:
            connection.execute(statement)

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(
            host=str(self.host),
            port=self.port,
            user="postgres",
            dbname="postgres",
            autocommit=True,
        )


def _book_of_this_process(host: Path, pid: int) -> AbstractContextManager[str]:
    return nullcontext(emptied(Postgres(host, pid).book()))


@dataclass(frozen=True)
class Identity:
    """What a server shows to those who want to know that it is the one."""

    certificate: bytes
    key: bytes


@contextmanager
def postgres(
    settings: tuple[str, ...] = FAST, *, tls: Identity | None = None
) -> Iterator[Postgres]:
    """A server with an empty data folder of its own, which is deleted at the end.

    With `tls` it listens on 127.0.0.1 as well. The wheel's speaks none, so it is Debian's then.
    """
    # A short path in a folder that every user may enter: a socket's name has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="ccp-pg-", dir="/tmp"))
    try:
        user = _give_away(folder)
        binaries = _binaries(folder, user) if tls is None else _binaries_with_tls()
        data = folder / "data"
        _initdb(binaries, data, user)
        port = 5432
        if tls is not None:
            port = _free_port()
            settings = (*settings, f"port={port}", *_speaking(tls, folder, user))
        with _running(binaries, data, folder, user, settings) as pid:
            yield Postgres(host=folder, pid=pid, port=port)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _give_away(folder: Path) -> int | None:
    """PostgreSQL refuses to run as root; then it runs as nobody, who owns only this folder."""
    if os.geteuid() != 0:
        return None
    import pwd

    nobody = pwd.getpwnam("nobody").pw_uid
    os.chown(folder, nobody, -1)
    return nobody


def _binaries(folder: Path, user: int | None) -> Path:
    """The wheel's `bin`; a copy of it where that user may not enter the environment's folder."""
    wheel = find_spec("pgserver")
    if wheel is None or wheel.origin is None:
        raise RuntimeError("pgserver is not installed: pip install -e '.[dev]'")
    installed = Path("pgserver", "pginstall")
    site = Path(wheel.origin).parent.parent
    if not _can_run(site / installed / "bin", user):
        # On Linux the shared libraries lie beside the package, and are found from there.
        for part in (installed, Path("pgserver.libs")):
            if (site / part).exists():
                shutil.copytree(site / part, folder / part, symlinks=True)
        site = folder
    return site / installed / "bin"


def _binaries_with_tls() -> Path:
    """Raises RuntimeError where there are none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        raise RuntimeError("no PostgreSQL that speaks TLS: `apt-get install postgresql`")
    return found[-1].parent


def _speaking(tls: Identity, folder: Path, user: int | None) -> Iterator[str]:
    yield from ("listen_addresses=127.0.0.1", "ssl=on")
    for setting, content in (("ssl_cert_file", tls.certificate), ("ssl_key_file", tls.key)):
        file = folder / setting
        file.touch(mode=0o600)
        file.write_bytes(content)
        if user is not None:
            os.chown(file, user, -1)
        yield f"{setting}={file}"


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _can_run(binaries: Path, user: int | None) -> bool:
    with suppress(PermissionError):
        version = [str(binaries / "initdb"), "--version"]
        return subprocess.run(version, user=user, capture_output=True, check=False).returncode == 0
    return False


def _initdb(binaries: Path, data: Path, user: int | None) -> None:
    command = [str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust"]
    made = subprocess.run(
        [*command, "--encoding=UTF8", "--no-locale", "--no-sync"],
        user=user,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=INITDB_TIMEOUT_SECONDS,
        check=False,
    )
    if made.returncode != 0:
        raise RuntimeError(f"initdb failed: {made.stderr}")


@contextmanager
def _running(
    binaries: Path, data: Path, folder: Path, user: int | None, settings: tuple[str, ...]
) -> Iterator[int]:
    options = " ".join([f"-k {folder} -h ''", *(f"-c {setting}" for setting in settings)])
    shell = subprocess.Popen(
        ["/bin/sh", "-c", UNTIL_STDIN_ENDS, binaries / "pg_ctl", folder, data, options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        user=user,
        cwd="/",
        # Ctrl-C at the terminal is for pytest, which ends the shell in order.
        start_new_session=True,
    )
    assert shell.stdout is not None
    said = shell.stdout.readline()
    if said != "ready\n":
        rest, _ = shell.communicate(timeout=STOP_TIMEOUT_SECONDS)
        raise RuntimeError(f"PostgreSQL did not start: {said}{rest}")
    try:
        yield int((data / "postmaster.pid").read_text().splitlines()[0])
    finally:
        shell.communicate(timeout=STOP_TIMEOUT_SECONDS)


def emptied(url: str) -> str:
    """The book at `url`, without what anybody wrote into it."""
    with connect_postgres(url, autocommit=True) as connection:
        # Several statements at once cannot be prepared.
        connection.execute(_EMPTY, prepare=False)
    return url


# What every book has from its beginning stays. Not TRUNCATE, which makes each table's files anew
# and takes longer than most tests: here there is little to delete. As a replica's, so that nothing
# asks in which order.
_KEPT = ("edition", "claim_epoch")
_EMPTY = "; ".join(
    ["SET session_replication_role = replica"]
    + [f"DELETE FROM {name}" for name in metadata.tables if name not in _KEPT]  # noqa: S608
)
