"""The index of the search: a file of this machine, made from the book and never missed.

It is no part of the book: whatever is in it can be made again, and one that is damaged is thrown
away. Why it is so is in docs/decisions/0011.

SQLite's FTS5 takes a run of letters for a word. Scripts that are written without spaces are taken
apart by an invisible mark behind each character, so that a word in them is a phrase.
"""

import os
import re
import sqlite3
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.errors import StateBusy
from codex_control_plane_mcp.model.ids import OperationId, ProjectId, ThreadId, TurnId
from codex_control_plane_mcp.store.operations import clean

#: The index, open, by a name that those may use who know no SQL.
Connection: TypeAlias = sqlite3.Connection

#: A file made otherwise is made anew.
_EDITION = 1
_APPLICATION = 0x63637073
#: Another task writes for milliseconds.
_LOCK_WAIT_SECONDS = 5.0
#: Of more matches the newest are ranked: to rank 100,000 takes half a second.
RANKED = 1000
_SNIPPET_WORDS = 32

_TABLES = (
    """CREATE TABLE texts (
        id           INTEGER PRIMARY KEY,
        operation_id TEXT,
        item_id      TEXT,
        project_id   TEXT NOT NULL,
        thread_id    TEXT,
        turn_id      TEXT,
        kind         TEXT NOT NULL,
        at           INTEGER NOT NULL,
        text         TEXT NOT NULL
    )""",
    """CREATE INDEX texts_of_operation ON texts (operation_id, item_id)
        WHERE operation_id IS NOT NULL""",
    # How far the journal of each operation has been taken in, and the history of the hooks.
    "CREATE TABLE heads (operation_id TEXT PRIMARY KEY, last_seq INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE hooks (last_seq INTEGER NOT NULL)",
    "INSERT INTO hooks VALUES (0)",
    # The project is a word, too: to look it up costs less than to look at each match.
    """CREATE VIRTUAL TABLE words USING fts5 (
        text, project_id,
        content='texts', content_rowid='id', tokenize='unicode61 remove_diacritics 2'
    )""",
    """CREATE TRIGGER texts_in AFTER INSERT ON texts BEGIN
        INSERT INTO words (rowid, text, project_id) VALUES (new.id, new.text, new.project_id);
    END""",
    """CREATE TRIGGER texts_out AFTER DELETE ON texts BEGIN
        INSERT INTO words (words, rowid, text, project_id)
        VALUES ('delete', old.id, old.text, old.project_id);
    END""",
    """CREATE TRIGGER texts_changed AFTER UPDATE OF text ON texts BEGIN
        INSERT INTO words (words, rowid, text, project_id)
        VALUES ('delete', old.id, old.text, old.project_id);
        INSERT INTO words (rowid, text, project_id) VALUES (new.id, new.text, new.project_id);
    END""",
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {_EDITION}",
)


class TextKind(StrEnum):
    PROMPT = "prompt"
    #: What the model said on the way.
    ANSWER = "answer"
    PLAN = "plan"
    #: What it said at the end.
    REPORT = "report"


class MatchMode(StrEnum):
    #: These words in this order.
    PHRASE = "phrase"
    ALL = "all"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose words they are. Without an operation, a hook told of them."""

    project_id: ProjectId
    thread_id: ThreadId | None
    turn_id: TurnId | None
    operation_id: OperationId | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """A text, or more of one: of the same item of the same operation."""

    kind: TextKind
    at: Moment
    text: str
    item_id: str | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    query: str
    mode: MatchMode
    project_id: ProjectId | None = None


@dataclass(frozen=True, slots=True)
class Found:
    origin: Origin
    kind: TextKind
    at: Moment
    snippet: str


class Damaged(Exception):
    """The file is no index, or no longer a whole one: throw it away."""


# --- Opening -------------------------------------------------------------------------------------


@contextmanager
def opened(path: Path) -> Iterator[Connection]:
    """The index, made if there is none. Raises Damaged, and StateBusy when the disk does not let
    it be."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(path, timeout=_LOCK_WAIT_SECONDS, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            _make(connection)
            yield connection
        finally:
            connection.close()
    except (sqlite3.OperationalError, OSError) as error:
        raise _unusable(path, error) from error
    except sqlite3.DatabaseError as error:
        if type(error) is not sqlite3.DatabaseError:
            raise  # our own mistake
        raise Damaged(str(error)) from error


def remove(path: Path) -> None:
    """Throw the index away; the next one who opens it makes another. Raises StateBusy."""
    try:
        for part in ("", "-wal", "-shm"):
            path.with_name(path.name + part).unlink(missing_ok=True)
    except OSError as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: Exception) -> StateBusy:
    return StateBusy(
        f"the search index {path} cannot be used ({error}): check the disk, or delete the file"
    )


@contextmanager
def writing(connection: Connection) -> Iterator[None]:
    """One transaction: all of it or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _make(connection: Connection) -> None:
    if _edition(connection) == (_APPLICATION, _EDITION):
        return
    with writing(connection):
        if _edition(connection) == (_APPLICATION, _EDITION):
            return  # somebody else was making it
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,):
            raise Damaged("it is of another edition")
        for statement in _TABLES:
            connection.execute(statement)


def _edition(connection: Connection) -> tuple[int, int]:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (edition,) = connection.execute("PRAGMA user_version").fetchone()
    return application, edition


# --- Taking in -----------------------------------------------------------------------------------


def heads(connection: Connection) -> dict[OperationId, int]:
    """How far each operation has been taken in."""
    return dict(connection.execute("SELECT operation_id, last_seq FROM heads"))


def head(connection: Connection, operation_id: OperationId) -> int:
    """How far an operation has been taken in; 0 for not at all."""
    row = connection.execute(
        "SELECT last_seq FROM heads WHERE operation_id = ?", (operation_id,)
    ).fetchone()
    return 0 if row is None else int(row[0])


def set_head(connection: Connection, operation_id: OperationId, last_seq: int) -> None:
    connection.execute(
        "INSERT INTO heads VALUES (?, ?) ON CONFLICT DO UPDATE SET last_seq = excluded.last_seq",
        (operation_id, last_seq),
    )


def hooks_head(connection: Connection) -> int:
    """How far the history of the hooks has been taken in."""
    return int(connection.execute("SELECT last_seq FROM hooks").fetchone()[0])


def set_hooks_head(connection: Connection, last_seq: int) -> None:
    connection.execute("UPDATE hooks SET last_seq = ?", (last_seq,))


def add(connection: Connection, origin: Origin, said: Iterable[Said]) -> None:
    """Take texts in; more of an item goes behind what is there of it."""
    for one in said:
        present = _of_item(connection, origin, one.item_id)
        if present is None:
            _insert(connection, origin, one)
        else:
            connection.execute(
                "UPDATE texts SET text = text || ? WHERE id = ?", (_stored(one.text), present)
            )


def conclude(connection: Connection, origin: Origin, said: Sequence[Said]) -> None:
    """Take the end of an operation in: its plan and its report, which were said before in pieces
    or not at all. What was said last is the report, and not an answer beside it."""
    for one in said:
        present = _of_item(connection, origin, one.item_id)
        if one.item_id is None:
            present = _last_answer(connection, origin, one.text)
        if present is None:
            _insert(connection, origin, one)
        else:
            connection.execute("UPDATE texts SET kind = ? WHERE id = ?", (one.kind, present))
            connection.execute(
                "UPDATE texts SET text = ?1 WHERE id = ?2 AND text <> ?1",
                (_stored(one.text), present),
            )


def place(connection: Connection, origin: Origin) -> None:
    """Say where the texts of an operation belong, which is known only after its prompt is."""
    connection.execute(
        "UPDATE texts SET thread_id = ?, turn_id = ? WHERE operation_id = ?"
        " AND (thread_id IS NOT ? OR turn_id IS NOT ?)",
        (
            *(origin.thread_id, origin.turn_id, origin.operation_id),
            *(origin.thread_id, origin.turn_id),
        ),
    )


def forget(connection: Connection, operation_id: OperationId) -> None:
    """Take an operation out."""
    connection.execute("DELETE FROM texts WHERE operation_id = ?", (operation_id,))
    connection.execute("DELETE FROM heads WHERE operation_id = ?", (operation_id,))


def forget_hooks(connection: Connection) -> None:
    """Take out all that hooks told."""
    connection.execute("DELETE FROM texts WHERE operation_id IS NULL")
    set_hooks_head(connection, 0)


def forget_before(connection: Connection, operation_id: OperationId, at: Moment) -> None:
    """Take out what an operation that has ended said on the way, up to a moment. What was asked and
    what it came to stays: that is no part of the journal."""
    connection.execute(
        "DELETE FROM texts WHERE operation_id = ?1 AND at <= ?2 AND (kind = ?3 OR kind = ?4"
        " AND id < (SELECT max(id) FROM texts WHERE operation_id = ?1 AND kind = ?4))",
        (operation_id, at, TextKind.ANSWER, TextKind.PLAN),
    )


def forget_hooks_before(connection: Connection, at: Moment) -> None:
    """Take out what hooks told before a moment."""
    connection.execute("DELETE FROM texts WHERE operation_id IS NULL AND at < ?", (at,))


def _insert(connection: Connection, origin: Origin, one: Said) -> None:
    connection.execute(
        "INSERT INTO texts (operation_id, item_id, project_id, thread_id, turn_id, kind, at, text)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(origin.operation_id, one.item_id, origin.project_id),
            *(origin.thread_id, origin.turn_id, one.kind, one.at, _stored(one.text)),
        ),
    )


def _of_item(connection: Connection, origin: Origin, item_id: str | None) -> int | None:
    if item_id is None:
        return None
    row = connection.execute(
        "SELECT id FROM texts WHERE operation_id = ? AND item_id = ?",
        (origin.operation_id, item_id),
    ).fetchone()
    return None if row is None else int(row[0])


def _last_answer(connection: Connection, origin: Origin, text: str) -> int | None:
    row = connection.execute(
        "SELECT id, text FROM texts WHERE operation_id = ? AND kind = ? ORDER BY id DESC LIMIT 1",
        (origin.operation_id, TextKind.ANSWER),
    ).fetchone()
    if row is None or row[1].split() != _stored(text).split():
        return None
    return int(row[0])


# --- Finding -------------------------------------------------------------------------------------


def newest(connection: Connection) -> int:
    """The place of the newest text. A search that looks no further finds the same again."""
    return int(connection.execute("SELECT coalesce(max(id), 0) FROM texts").fetchone()[0])


def count(connection: Connection) -> int:
    """How many texts there are."""
    return int(connection.execute("SELECT count(*) FROM texts").fetchone()[0])


def knows_project(connection: Connection, project_id: str) -> bool:
    if not _has_words(project_id):
        return False
    rows = connection.execute(
        "SELECT 1 FROM words JOIN texts ON texts.id = words.rowid"
        " WHERE words MATCH ? AND texts.project_id = ? LIMIT 1",
        (f"project_id : ^ {_quoted(project_id)}", project_id),
    )
    return rows.fetchone() is not None


def can_match(query: str) -> bool:
    """Whether there is a word in it to look for."""
    return _has_words(query)


def find(
    connection: Connection, wanted: Wanted, newest: int, offset: int, limit: int
) -> list[Found]:
    """The best matches up to the text at `newest`. Where there are too many to be ranked, those of
    the newest `RANKED`."""
    match = _expression(wanted)
    rows = connection.execute(_BEST, (match, newest, RANKED, limit, offset)).fetchall()
    snippets = dict(
        connection.execute(
            f"SELECT rowid, snippet(words, 0, '', '', '…', {_SNIPPET_WORDS}) FROM words"  # noqa: S608
            f" WHERE words MATCH ? AND rowid IN ({', '.join('?' * len(rows))})",
            (match, *(row[0] for row in rows)),
        )
    )
    return [
        Found(
            Origin(project_id, thread_id, turn_id, operation_id),
            TextKind(kind),
            at,
            " ".join(snippets[id_].replace(_MARK, "").split()),
        )
        for id_, operation_id, project_id, thread_id, turn_id, kind, at in rows
    ]


#: What a project is called is no merit.
_BEST = """
WITH newest AS (
    SELECT rowid AS id, bm25(words, 1.0, 0.0) AS score FROM words
    WHERE words MATCH ? AND rowid <= ? ORDER BY rowid DESC LIMIT ?
)
SELECT id, operation_id, project_id, thread_id, turn_id, kind, at
FROM newest JOIN texts USING (id) ORDER BY score, id DESC LIMIT ? OFFSET ?
"""


def _expression(wanted: Wanted) -> str:
    """The query as FTS5 reads it. Whatever a caller writes is words in quotes, never syntax."""
    said = f"text : ({_said(wanted)})"
    if wanted.project_id is None:
        return said
    return f"project_id : ^ {_quoted(wanted.project_id)} AND {said}"


def _said(wanted: Wanted) -> str:
    match wanted.mode:
        case MatchMode.PHRASE:
            return _quoted(wanted.query)
        case MatchMode.ALL:
            return " AND ".join(_words(wanted.query))
        case MatchMode.ANY:
            return " OR ".join(_words(wanted.query))


def _words(query: str) -> list[str]:
    return [_quoted(word) for word in query.split() if _has_words(word)]


def _quoted(text: str) -> str:
    return '"{}"'.format(_apart(text).replace('"', '""'))


def _has_words(text: str) -> bool:
    """Whether FTS5 sees a word there: letters or digits."""
    return any(unicodedata.category(character)[0] in "LN" for character in text)


# --- Scripts without spaces ----------------------------------------------------------------------

#: ZERO WIDTH SPACE: it is not seen, and parts words.
_MARK = "\u200b"
#: Thai and Lao, Myanmar, Khmer, Hangul, kana, and the Chinese characters.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]"
)


def _stored(text: str) -> str:
    """`text` as it is indexed."""
    return _apart(clean(text))


def _apart(text: str) -> str:
    """`text` composed, and with a mark behind each character of a script without spaces."""
    composed = unicodedata.normalize("NFC", text)
    return composed if composed.isascii() else _UNSPACED.sub(rf"\g<0>{_MARK}", composed)
