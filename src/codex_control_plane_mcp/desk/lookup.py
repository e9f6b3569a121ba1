"""Which thing a person means who typed an id, or only how it begins."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from codex_control_plane_mcp.errors import (
    InteractionNotFound,
    InvalidArgument,
    NotFound,
    OperationNotFound,
    WorkflowNotFound,
)
from codex_control_plane_mcp.store import lookup
from codex_control_plane_mcp.store.book import Reading

#: Of those that are meant alike, so many are named.
NAMED: Final = 5


class Thing(StrEnum):
    """What has an id, by how that begins."""

    OPERATION = "op"
    WORKFLOW = "wf"
    INTERACTION = "ia"


@dataclass(frozen=True, slots=True)
class Found:
    thing: Thing
    id: str


_MISSING: Final[dict[Thing, type[NotFound]]] = {
    Thing.OPERATION: OperationNotFound,
    Thing.WORKFLOW: WorkflowNotFound,
    Thing.INTERACTION: InteractionNotFound,
}


def find(reading: Reading, typed: str, *among: Thing) -> Found:
    """The one thing `among` these whose id is or begins with what was typed.

    Raises InvalidArgument where that can be none or means several, NotFound where there is none.
    """
    thing = next((one for one in among if typed.startswith(f"{one}_")), None)
    if thing is None:
        begins = " or ".join(f"{one}_" for one in among)
        raise InvalidArgument(f"{typed!r} is no id: one begins with {begins}", field="id")
    ids = lookup.ids_beginning(reading, thing, typed, NAMED + 1)
    if typed in ids or len(ids) == 1:
        return Found(thing, typed if typed in ids else ids[0])
    if not ids:
        raise _MISSING[thing](f"no {thing.name.lower()} has an id that begins with {typed}")
    more = ", and more" if len(ids) > NAMED else ""
    raise InvalidArgument(
        f"{typed} is the beginning of several ids: {', '.join(ids[:NAMED])}{more}; type more of it",
        field="id",
    )
