"""What a search shows."""

from dataclasses import dataclass

from codex_control_plane_mcp.clock import Moment


@dataclass(frozen=True, slots=True)
class SearchHit:
    #: The same as thread_id.
    chat_id: str | None
    thread_id: str | None
    turn_id: str | None
    operation_id: str | None
    project_id: str
    #: `prompt`, `answer`, `plan` or `report`.
    kind: str
    at: Moment
    snippet: str
    #: `tracked_turn`: a turn of ours; `hook_history`: a person's own.
    source: str


@dataclass(frozen=True, slots=True)
class SearchView:
    results: tuple[SearchHit, ...]
    next_cursor: str | None
    #: False while the index is still being made: ask again in a moment.
    complete: bool
