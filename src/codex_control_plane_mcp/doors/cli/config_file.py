"""Changes a file of settings that belongs to another program: in one step, and kept as it was
beside it.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from codex_control_plane_mcp import paths


class Unreadable(Exception):
    """The file is not as its program wants it, or cannot be read: it is left alone."""


@dataclass(frozen=True, slots=True)
class Change:
    changed: bool
    #: Where the file is kept as it was, if it was there and changed.
    backup: Path | None = None


#: Raises ValueError or RecursionError for a text that must be left alone.
Check = Callable[[str], object]


def read(file: Path, check: Check) -> str | None:
    """The text of the file, if there is one. Raises Unreadable."""
    try:
        text = file.read_bytes().decode()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise Unreadable(f"{file} cannot be read: {error}") from error
    try:
        check(text)
    except (ValueError, RecursionError) as error:
        raise Unreadable(
            f"{file} is left as it is: {error}. It has to be JSON without comments; mend the file"
            " and run this again"
        ) from error
    return text


def change(file: Path, check: Check, edit: Callable[[str | None], str | None]) -> Change:
    """Put the edited text in the place of the file; None leaves it. Raises Unreadable, OSError."""
    # Where it is a link into somebody's collection of settings, the link stays.
    target = Path(os.path.realpath(file))
    before = read(target, check)
    after = edit(before)
    if after is None or after == before:
        return Change(changed=False)
    if before is None:
        target.parent.mkdir(parents=True, exist_ok=True)
        paths.replace_file(str(target), after.encode())
        return Change(changed=True)
    mode = target.stat().st_mode & 0o777
    backup = target.with_name(f"{target.name}.{datetime.now(UTC):%Y%m%dT%H%M%S%f}.bak")
    paths.replace_file(str(backup), before.encode())
    backup.chmod(mode)
    if target.read_bytes() != before.encode():
        raise Unreadable(f"{file} was changed by somebody else just now; run this again")
    paths.replace_file(str(target), after.encode())
    target.chmod(mode)
    return Change(changed=True, backup=backup)
