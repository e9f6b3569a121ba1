"""What the desk shows of what is wrong, of the log, and of repairs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from codex_control_plane_mcp.desk.views import OPTIONAL, TACIT


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of the log. What is not of the worker's log has a message only."""

    at: str | None
    level: str | None
    message: str
    call_id: str | None = field(default=None, metadata=OPTIONAL)
    operation_id: str | None = field(default=None, metadata=OPTIONAL)
    #: Whatever else was told with it.
    told: Mapping[str, object] | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True)
class LogView:
    #: `worker` or `app_server`.
    source: str
    path: str
    #: Oldest first.
    lines: tuple[LogLine, ...]
    #: Whether the file was read to its beginning.
    complete: bool = field(metadata=TACIT)
