"""Which host of a fleet a caller means a task for."""

from collections.abc import Collection

from codex_control_plane_mcp.errors import InvalidArgument
from codex_control_plane_mcp.model.ids import HostId
from codex_control_plane_mcp.model.request import (
    ANYWHERE,
    LocalImage,
    Placement,
    TaskRequest,
    attachments_of,
)
from codex_control_plane_mcp.settings import Settings, labels_of
from codex_control_plane_mcp.store import hosts
from codex_control_plane_mcp.store.book import Reading

#: Nobody has more.
MAX_LABELS = 20


def placement(
    reading: Reading, settings: Settings, host: str | None, labels: Collection[str]
) -> Placement:
    """Raises InvalidArgument for a host that nobody is. What is away or busy is waited for, and so
    are labels that no host has yet."""
    if names_nobody(host, labels):
        return ANYWHERE
    if host is not None and labels:
        raise InvalidArgument("give host or host_labels, not both", field="host_labels")
    wanted = _checked(labels)
    if settings.database_url is None:
        return _alone(settings, host, wanted)
    known = [one.id for one in hosts.every(reading)]
    if host is not None and host not in known:
        raise InvalidArgument(
            f"no host of the fleet is called {host!r}; there are: {', '.join(known) or 'none yet'}",
            field="host",
        )
    return Placement(None if host is None else HostId(host), wanted)


def names_nobody(host: str | None, labels: Collection[str]) -> bool:
    """Whether any host will do: the book need not be asked then."""
    return host is None and not labels


def check_pictures(request: TaskRequest, wanted: Placement, settings: Settings) -> None:
    """A picture on a disk can be seen by the host only whose disk it is.

    Raises InvalidArgument where the task is for another one.
    """
    if not any(isinstance(one, LocalImage) for one in attachments_of(request)):
        return
    if wanted.host in (None, settings.host) and set(wanted.labels) <= set(settings.host_labels):
        return
    raise InvalidArgument(
        f"a local_image is on the disk of {settings.host}, and the task is for another host: give "
        "it as a URL, or submit the task at that host",
        field="input_items",
    )


def _alone(settings: Settings, host: str | None, labels: tuple[str, ...]) -> Placement:
    missing = ", ".join(label for label in labels if label not in settings.host_labels)
    if host not in (None, settings.host):
        raise InvalidArgument(
            f"this machine, {settings.host}, runs alone and cannot hand a task to {host!r}: leave "
            "host out, or share a queue with other hosts (CODEX_MCP_DATABASE_URL)",
            field="host",
        )
    if missing:
        raise InvalidArgument(
            f"this machine runs alone and does not have: {missing}; leave host_labels out, or add "
            "to CODEX_MCP_HOST_LABELS what it has",
            field="host_labels",
        )
    return ANYWHERE


def _checked(labels: Collection[str]) -> tuple[str, ...]:
    if len(labels) > MAX_LABELS:
        raise InvalidArgument(f"at most {MAX_LABELS} labels are taken", field="host_labels")
    try:
        return labels_of(labels)
    except ValueError as error:
        raise InvalidArgument(f"host_labels: {error}", field="host_labels") from error
