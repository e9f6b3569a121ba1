"""The editions of the book that this release knows: one numbered SQL file for each.

The files are kept as they were released and never edited; a change to the tables is a new file. Its
first line may be `-- Usable from edition N.`: whoever knows edition N can go on with the book as if
nothing had happened. That is so where it only adds what may be left out: tables, indexes, columns
that are null or have a default. A file that does not say so can be used by nobody who does not know
it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from sqlalchemy import func, select

from codex_control_plane_mcp.errors import StateBusy
from codex_control_plane_mcp.store.schema import edition


class Outdated(StateBusy):
    """The book is of an edition that this release cannot use."""


@dataclass(frozen=True, slots=True)
class Edition:
    """One step of the tables."""

    number: int
    #: The oldest edition whose code can use the book as this one leaves it.
    usable_from: int
    sql: str

    def statements(self, dialect: str) -> list[str]:
        """`/*sqlite ... */` is for SQLite only; no literal holds `;`."""
        text = self.sql
        if dialect == "sqlite":
            text = text.replace("/*sqlite", "").replace("*/", "")
        lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
        return [part.strip() for part in "\n".join(lines).split(";") if part.strip()]


@cache
def released() -> tuple[Edition, ...]:
    """In order."""
    folder = files("codex_control_plane_mcp.store") / "migrations"
    return tuple(
        read(int(name.partition("_")[0]), (folder / name).read_text(encoding="utf-8"))
        for name in sorted(file.name for file in folder.iterdir())
        if name.endswith(".sql")
    )


def read(number: int, sql: str) -> Edition:
    stated = re.match(r"-- Usable from edition (\d+)\.\n", sql)
    return Edition(number, int(stated[1]) if stated else number, sql)


#: For `check_usable`: the oldest edition whose code can use the book.
USABLE_FROM = select(func.max(edition.c.usable_from))


def check_usable(usable_from: int, known: Sequence[Edition]) -> None:
    """Raises Outdated for a book that can be used from an edition on which is none of these."""
    if usable_from > known[-1].number:
        raise Outdated(
            f"the state was written by a newer version of codex-control-plane-mcp (it needs "
            f"edition {usable_from}, this one knows {known[-1].number}): upgrade this "
            "installation, or name another state file in CODEX_MCP_STATE_DB"
        )
