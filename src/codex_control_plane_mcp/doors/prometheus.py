"""Metrics in Prometheus' text format, version 0.0.4."""

from collections.abc import Iterator, Mapping
from typing import Final, Literal

from codex_control_plane_mcp.desk.metrics import Metrics
from codex_control_plane_mcp.model.operation import Status

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
PREFIX: Final = "codex_control_plane_"


def exposition(metrics: Metrics) -> str:
    """What a scrape reads."""
    return "".join(f"{line}\n" for line in _lines(metrics))


def _lines(now: Metrics) -> Iterator[str]:
    yield from _by_status("operations", "gauge", "Operations in the state.", now.operations)
    yield from _gauge("queue_depth", "Operations that wait for their turn.", now.queue_depth)
    yield from _gauge(
        "oldest_queued_seconds",
        "How long the oldest operation of the queue has waited.",
        now.oldest_queued_seconds,
    )
    yield from _gauge("active_turns", "Operations that take a slot.", now.active_turns)
    yield from _gauge(
        "active_turns_limit", "Slots there are at the same time.", now.active_turns_limit
    )
    yield from _gauge(
        "pending_interactions", "Questions of Codex that nobody answered.", now.pending_interactions
    )
    yield from _gauge(
        "oldest_pending_interaction_seconds",
        "How long the oldest of these questions has waited.",
        now.oldest_pending_interaction_seconds,
    )
    yield from _by_status(
        "turns_ended_total",
        "counter",
        "Turns that ended since the latest worker started.",
        now.turns_ended,
    )
    yield from _gauge(
        "dead_notices", "Notices that were given up; nobody was told.", now.dead_notices
    )
    yield from _gauge(
        "worker_present",
        "Whether the latest worker has not left; killed ones do not.",
        int(now.worker_present),
    )
    if now.worker_started_at is not None:
        yield from _gauge(
            "worker_start_time_seconds",
            "When the latest worker started, in seconds since 1970.",
            now.worker_started_at / 1000,
        )


def _by_status(
    name: str, kind: Literal["counter", "gauge"], help_: str, values: Mapping[Status, int]
) -> Iterator[str]:
    yield from _head(name, kind, help_)
    for status, value in values.items():
        yield f'{PREFIX}{name}{{status="{status.value}"}} {value}'


def _gauge(name: str, help_: str, value: float) -> Iterator[str]:
    yield from _head(name, "gauge", help_)
    yield f"{PREFIX}{name} {value}"


def _head(name: str, kind: str, help_: str) -> Iterator[str]:
    yield f"# HELP {PREFIX}{name} {help_}"
    yield f"# TYPE {PREFIX}{name} {kind}"
