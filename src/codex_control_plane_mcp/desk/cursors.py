"""Cursors: where a reader goes on, in as few characters as it takes.

Clients hand them back as they are. They hold Codex's own cursors, which are long and mostly alike,
so they are packed; a slip of the pen in one is found out.
"""

import base64
import json
import zlib
from typing import Final

from codex_control_plane_mcp.errors import InvalidArgument

#: No cursor of Codex is nearly as long.
MAX_CURSOR_CHARS: Final = 4_000
#: What cursors of Codex mostly consist of, beside the thread's id.
_FAMILIAR: Final = (
    '"includeAnchor":true,false,"turnId":"","scope":{"kind":"turns"}'
    '["i{\\"requestedThreadId\\":\\"\\",\\"rolloutOrdinal\\":1234567890,'
    '\\"includeAnchor\\":true,\\"scope\\":{\\"kind\\":\\"itemsByCreatedAtOrdinal\\"}}",'
    "true,false,null"
)


def packed(value: object, about: str) -> str:
    """`value`, which is JSON data, as a cursor for a list `about` something."""
    text = json.dumps(value, separators=(",", ":"))
    packer = zlib.compressobj(9, zdict=_familiar(about))
    return base64.urlsafe_b64encode(packer.compress(text.encode()) + packer.flush()).decode()


def unpacked(cursor: str, about: str) -> object:
    """What was packed, for the same `about`. Raises InvalidArgument for anything else."""
    try:
        unpacker = zlib.decompressobj(zdict=_familiar(about))
        text = unpacker.decompress(
            base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True),
            MAX_CURSOR_CHARS,
        )
        if not unpacker.eof:
            raise bad_cursor()
        return json.loads(text)
    except (ValueError, zlib.error) as error:
        raise bad_cursor() from error


def bad_cursor() -> InvalidArgument:
    return InvalidArgument(
        "cursor is not one of this list: give it back as it came, with the same other arguments, "
        "or leave it out to begin anew",
        field="cursor",
    )


def _familiar(about: str) -> bytes:
    return f"{about}{_FAMILIAR}{about}".encode()
