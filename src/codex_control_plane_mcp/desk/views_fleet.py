"""What the desk shows of the hosts of a fleet."""

from dataclasses import dataclass

from codex_control_plane_mcp.clock import Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLine:
    """One host, and what it has in hand."""

    host: str
    #: Whether its worker is connected now.
    present: bool
    #: When it last gave a sign of life: away since then, if it is not present.
    seen_at: Moment
    #: How many turns it may have at once, and has; those of a host that is away as well.
    capacity: int
    active_turn_count: int
    #: What waits for this host, and can run on no other.
    queued_count: int
    codex_version: str | None
    worker_version: str | None

    @property
    def is_missed(self) -> bool:
        """Whether something is waiting for it to come back."""
        return not self.present and (self.active_turn_count > 0 or self.queued_count > 0)


@dataclass(frozen=True, slots=True)
class FleetView:
    #: Those that are missed, then all others, by name; none where the state is that of one machine.
    hosts: tuple[HostLine, ...]
