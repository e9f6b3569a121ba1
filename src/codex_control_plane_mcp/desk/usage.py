"""What tasks took: tokens and time, by day, project and agent.

Codex counts the tokens of a thread, not of a turn, so a task took what its thread gained since the
task before it. The first of ours in a thread that was there before took nobody knows how much of
what the thread had.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from codex_control_plane_mcp.clock import Moment, seconds_between
from codex_control_plane_mcp.desk.views_overview import Share, UsageView
from codex_control_plane_mcp.model.request import OperationType
from codex_control_plane_mcp.store.book import Reading
from codex_control_plane_mcp.store.usage import Used, used

#: Agents that did not say who they are.
NOBODY_NAMED = "no agent named"
#: Their first turn is the first of the thread.
_MAKES_THREAD = frozenset({OperationType.START_CHAT, OperationType.REVIEW})


@dataclass(slots=True)
class _Sum:
    tasks: int = 0
    seconds: float = 0.0
    input: int = 0
    cached: int = 0
    output: int = 0
    unknown: int = 0

    def share(self, name: str) -> Share:
        return Share(
            name, self.tasks, self.seconds, self.input, self.cached, self.output, self.unknown
        )


def usage(reading: Reading, days: int, now: Moment, zone: tzinfo | None = None) -> UsageView:
    """The last `days` days, by the calendar of `zone` (of this machine, if none is given)."""
    today = _local(now, zone).date()
    dates = [today - timedelta(days=back) for back in reversed(range(days))]
    midnight = datetime(dates[0].year, dates[0].month, dates[0].day, tzinfo=zone)
    taken = used(reading, Moment(round(midnight.timestamp() * 1000)))

    by_day: dict[str, _Sum] = {date.isoformat(): _Sum() for date in dates}
    by_project: defaultdict[str, _Sum] = defaultdict(_Sum)
    by_agent: defaultdict[str, _Sum] = defaultdict(_Sum)
    total = _Sum()
    for one in taken:
        day = by_day.setdefault(_local(one.started_at, zone).date().isoformat(), _Sum())
        agent = by_agent[one.agent_id or NOBODY_NAMED]
        for into in (day, by_project[one.project_id], agent, total):
            _add(into, one, now)
    return UsageView(
        days=tuple(one.share(name) for name, one in by_day.items()),
        projects=_ranked(by_project.items()),
        agents=_ranked(by_agent.items()),
        total=total.share("all"),
    )


def _local(moment: Moment, zone: tzinfo | None) -> datetime:
    return datetime.fromtimestamp(moment / 1000).astimezone(zone)


def _ranked(sums: Iterable[tuple[str, _Sum]]) -> tuple[Share, ...]:
    shares: Sequence[Share] = [one.share(name) for name, one in sums]
    return tuple(sorted(shares, key=lambda share: (-share.tokens, -share.seconds, share.name)))


def _add(into: _Sum, one: Used, now: Moment) -> None:
    into.tasks += 1
    into.seconds += seconds_between(one.started_at, one.completed_at or now)
    if one.tokens is None:
        return
    if one.is_first and one.type not in _MAKES_THREAD:
        into.unknown += 1
        return
    before = one.tokens_before
    cached = one.tokens.cached_input - (before.cached_input if before else 0)
    fresh = one.tokens.input - (before.input if before else 0) - cached
    output = one.tokens.output - (before.output if before else 0)
    # A thread that was rolled back may have fewer than before.
    into.input += max(0, fresh)
    into.cached += max(0, cached)
    into.output += max(0, output)
