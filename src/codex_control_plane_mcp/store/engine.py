"""Opens the database: SQLite with full durability by default, PostgreSQL for several machines."""

import os
import selectors
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DatabaseError, DBAPIError, DisconnectionError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection, QueuePool, StaticPool

from codex_control_plane_mcp.errors import ControlPlaneError, InvalidArgument, StateBusy

if TYPE_CHECKING:
    import psycopg

#: How long a writer waits for another process to let go of the book before it gives up.
LOCK_WAIT_SECONDS = 8.0
#: Readers that may look into the book at once, in threads; each holds one open file.
READERS = 4
#: So often a new SQLite file is asked to keep a log while others make the same book.
LOG_TRIES = 10
#: Names the lock that a writer holds among PostgreSQL's advisory locks.
_PEN = 0x636F646579
#: The option of an engine whose transactions do not take the pen.
_WITHOUT_PEN = "without_pen"
#: So many transactions of one process may write beside each other without the pen.
HANDS = 2


def open_sqlite(path: Path, lock_wait_seconds: float = LOCK_WAIT_SECONDS) -> tuple[Engine, Engine]:
    """One engine to write with (one connection) and one to read with (it cannot write).

    The file is made with mode 0600; its folder must exist. `synchronous=FULL`: what was
    acknowledged survives a power loss. Raises StateBusy when there can be no such file.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        path.chmod(0o600)
    except OSError as error:
        raise _with_advice(f"unable to open {path}: {error.strerror}") from error
    # Not as text: a `?` or `%` in the path would lead to another file.
    url = URL.create("sqlite", database=str(path))
    arguments = {
        "isolation_level": None,
        "check_same_thread": False,
        "timeout": lock_wait_seconds,
        "cached_statements": 256,
    }
    writer = create_engine(url, connect_args=arguments, poolclass=StaticPool)
    reader = create_engine(url, connect_args=arguments, poolclass=QueuePool, pool_size=READERS + 1)
    event.listen(writer, "connect", _prepare_writer)
    event.listen(writer, "begin", _begin_immediate)
    event.listen(reader, "connect", _prepare_reader)
    event.listen(reader, "begin", _begin_deferred)
    return writer, reader


def open_postgres(url: str, lock_wait_seconds: float = LOCK_WAIT_SECONDS) -> tuple[Engine, Engine]:
    """The same for `postgresql://…`; both may hold several connections.

    Here too one writes at a time, of all processes on all machines, unless it says that it needs no
    pen. One that falls asleep in a transaction loses it before the others give up.
    """
    # Handed to libpq to the letter, so that all that it knows may stand there.
    dial = partial(connect_postgres, url)
    writer = create_engine(
        "postgresql+psycopg://",
        creator=dial,
        pool_size=2,
        max_overflow=HANDS,
        pool_use_lifo=True,
    )
    reader = create_engine(
        "postgresql+psycopg://",
        creator=dial,
        pool_size=READERS,
        pool_use_lifo=True,
        execution_options={"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
    )
    wait_ms = round(lock_wait_seconds * 1000)

    def bound_the_waits(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
        _execute(
            connection,
            f"SET lock_timeout = {wait_ms}",
            f"SET idle_in_transaction_session_timeout = {wait_ms // 2}",
            # Writers name rows by their keys: one plan is as good as another.
            "SET plan_cache_mode = force_generic_plan",
        )
        connection.commit()

    for engine in (writer, reader):
        event.listen(engine, "checkout", _throw_away_if_ended)
    event.listen(writer, "connect", bound_the_waits)
    event.listen(writer, "begin", _take_the_pen)
    return writer, reader


def _throw_away_if_ended(
    connection: DBAPIConnection, _record: ConnectionPoolEntry, _proxy: PoolProxiedConnection
) -> None:
    """Have a connection made anew on which the server has said something unasked: that is its end.
    To ask the server each time would be a question more for each transaction."""
    own = cast("psycopg.Connection", connection)
    if own.closed or _has_been_told(own.fileno()):
        raise DisconnectionError("the server has ended the connection")


def _has_been_told(socket: int) -> bool:
    with selectors.DefaultSelector() as unread:
        unread.register(socket, selectors.EVENT_READ)
        return bool(unread.select(0))


def connect_postgres(url: str, *, autocommit: bool = False) -> "psycopg.Connection":
    """One connection of our own. Whatever dies on the way is noticed within half a minute.

    Raises InvalidArgument, which does not repeat the URL, StateBusy without the driver, and
    psycopg.OperationalError when nobody answers.
    """
    try:
        import psycopg
        from psycopg.conninfo import conninfo_to_dict
    except ImportError as error:
        raise StateBusy(
            "PostgreSQL needs a driver: pip install 'codex-control-plane-mcp[postgres]'"
        ) from error
    try:
        # SQLAlchemy's spelling is understood, too.
        stated = conninfo_to_dict(url.replace("postgresql+psycopg://", "postgresql://", 1))
    except psycopg.ProgrammingError:
        # Its words may hold a part of the password.
        raise InvalidArgument(
            "CODEX_MCP_DATABASE_URL is no URL that PostgreSQL understands: "
            "postgresql://user@host:5432/database",
            setting="CODEX_MCP_DATABASE_URL",
        ) from None
    # Prepared at once: to parse and plan takes the server longer than to answer.
    return psycopg.connect(
        "", autocommit=autocommit, prepare_threshold=0, **(_NOTICES_LOSS | stated)
    )


_NOTICES_LOSS: dict[str, Any] = {
    "application_name": "codex-control-plane-mcp",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}


def _prepare_writer(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    _keep_a_log(connection)
    _execute(connection, "PRAGMA synchronous=FULL", "PRAGMA foreign_keys=ON")


def _keep_a_log(connection: DBAPIConnection) -> None:
    """Raises OperationalError when the file cannot be written, or another holds it for too long."""
    for left in reversed(range(LOG_TRIES)):
        try:
            _execute(connection, "PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or not left:
                raise
            # Here SQLite does not wait for whoever makes the same book; there it does.
            _execute(connection, "BEGIN IMMEDIATE", "ROLLBACK")
        else:
            return


def _prepare_reader(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    _execute(connection, "PRAGMA query_only=ON")


def _execute(connection: DBAPIConnection, *statements: str) -> None:
    cursor = connection.cursor()
    for statement in statements:
        cursor.execute(statement)
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    # Without IMMEDIATE two writers that have both read would dead-lock on the way to writing.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def without_pen(writer: Engine) -> Engine:
    """The same engine for those who wait at a row of their own. With SQLite there is no other way
    to write than one at a time."""
    return writer.execution_options(**{_WITHOUT_PEN: True})


def _take_the_pen(connection: Connection) -> None:
    # Row locks alone would let two transactions each overlook what the other is about to write.
    if not connection.get_execution_options().get(_WITHOUT_PEN):
        stand_alone(connection, _PEN)


def stand_alone(connection: Connection, lock: int) -> None:
    """Wait until nobody else has this lock, and have it until the transaction ends. Who writes to
    SQLite is alone anyway."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({lock})")


def _begin_deferred(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


@contextmanager
def translated() -> Iterator[None]:
    """Turns what the database driver raises for the machine's reasons into StateBusy.

    Our own mistakes (a broken constraint, wrong SQL) are left as they are.
    """
    try:
        yield
    except OperationalError as error:
        raise _with_advice(str(error.orig)) from error
    except DBAPIError as error:
        # A damaged file, or one that is no database, is a plain DatabaseError; a broken constraint
        # has a class of its own. A standby server of PostgreSQL calls itself read-only, and what a
        # role may not do is no mistake of ours.
        if (
            type(error) in (DBAPIError, DatabaseError)
            or "read-only transaction" in str(error.orig)
            or getattr(error.orig, "sqlstate", None) == _FORBIDDEN
            or error.connection_invalidated
        ):
            raise _with_advice(str(error.orig)) from error
        raise


#: PostgreSQL's `insufficient_privilege`.
_FORBIDDEN = "42501"
_HELD = "another process holds the state database; try again in a few seconds"
_FULL = "the disk is full: nothing was stored; free some space and try again"
_READ_ONLY = "the state database cannot be written; check the permissions of its folder"

_NOT_KNOWN = (
    "the certificate of the PostgreSQL server could not be verified: name the file of the authority"
    " that signed it, sslrootcert=/path/ca.pem in CODEX_MCP_DATABASE_URL, and see that this is the"
    " server that you mean"
)
_OTHER_NAME = (
    "the certificate of the PostgreSQL server is for another name: write the one that it bears into"
    " CODEX_MCP_DATABASE_URL"
)
_NO_TLS = (
    "CODEX_MCP_DATABASE_URL asks for TLS, and the PostgreSQL server speaks none: switch it on there"
    " (ssl = on)"
)
_NOT_LET_IN = "PostgreSQL refuses the role or its password: correct CODEX_MCP_DATABASE_URL"
_NOT_ALLOWED = (
    "the role in CODEX_MCP_DATABASE_URL may not do this: have the tables made and changed by the "
    "role that owns them (`codex-control-plane-mcp-admin migrate`), and give this one SELECT, "
    "INSERT, UPDATE and DELETE on them"
)

_ADVICE = (
    ("certificate verify failed", _NOT_KNOWN),
    ("root certificate file", _NOT_KNOWN),
    ("does not match host name", _OTHER_NAME),
    ("server does not support ssl", _NO_TLS),
    ("password authentication failed", _NOT_LET_IN),
    ("permission denied for", _NOT_ALLOWED),
    ("must be owner of", _NOT_ALLOWED),
    ("locked", _HELD),
    ("lock timeout", _HELD),
    ("full", _FULL),
    ("no space left", _FULL),
    ("readonly", _READ_ONLY),
    ("read-only", _READ_ONLY),
    ("permission denied", _READ_ONLY),
    ("unable to open", "the state database cannot be opened; check CODEX_MCP_STATE_DB"),
    ("malformed", "the state database is damaged; restore a backup or name another state file"),
    ("not a database", "CODEX_MCP_STATE_DB names a file that is not a state database"),
    ("disk i/o", "the disk reported an error: nothing was stored"),
)


def _with_advice(reason: str) -> ControlPlaneError:
    advice = next(
        (advice for hint, advice in _ADVICE if hint in reason.lower()),
        "the state database did not answer; try again",
    )
    return StateBusy(f"{advice} ({reason.splitlines()[0] if reason else 'no reason given'})")
