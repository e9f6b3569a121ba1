"""How things are said on the pages: statuses, lengths, amounts, decisions, in plain words."""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from markupsafe import Markup

from codex_control_plane_mcp.clock import Moment, isoformat
from codex_control_plane_mcp.model.interaction import InteractionStatus
from codex_control_plane_mcp.model.operation import Status
from codex_control_plane_mcp.model.repair import Outcome
from codex_control_plane_mcp.model.request import OperationType
from codex_control_plane_mcp.model.workflow import Phase
from codex_control_plane_mcp.redact import redact

#: What a status looks like: `run`, `wait`, `ask`, `ok`, `bad`, `odd` or `off`.
TONES: Final[Mapping[str, str]] = {
    Status.QUEUED: "wait",
    Status.STARTING_THREAD: "run",
    Status.STARTING_TURN: "run",
    Status.RUNNING: "run",
    Status.WAITING_FOR_APPROVAL: "ask",
    Status.WAITING_FOR_USER_INPUT: "ask",
    Status.COMPLETED: "ok",
    Status.FAILED: "bad",
    Status.INTERRUPTED: "off",
    Status.CANCELLED: "off",
    Status.UNKNOWN: "odd",
    Phase.PLANNING: "run",
    Phase.EXECUTING: "run",
    Phase.REVIEWING: "run",
    Phase.PLAN_READY: "ask",
    Phase.PLAN_NEEDS_REVIEW: "ask",
    Phase.PLAN_CANDIDATE_FOUND: "ask",
    Phase.ORPHANED: "odd",
    InteractionStatus.PENDING: "ask",
    InteractionStatus.ANSWERED: "ok",
    InteractionStatus.AUTO_DECLINED: "off",
    InteractionStatus.EXPIRED: "off",
    InteractionStatus.WITHDRAWN: "off",
    Outcome.PLANNED: "ask",
    Outcome.APPLIED: "ok",
    Outcome.REFUSED: "bad",
    "healthy": "ok",
    "degraded": "ask",
    "broken": "bad",
}
_SAID: Final[Mapping[str, str]] = {
    Status.STARTING_THREAD: "starting",
    Status.STARTING_TURN: "starting",
    Status.WAITING_FOR_APPROVAL: "wants an approval",
    Status.WAITING_FOR_USER_INPUT: "asks a question",
    Status.UNKNOWN: "outcome unknown",
    Phase.PLAN_READY: "plan to decide on",
    Phase.PLAN_NEEDS_REVIEW: "ended without a plan",
    Phase.PLAN_CANDIDATE_FOUND: "a newer plan was found",
    InteractionStatus.AUTO_DECLINED: "declined: nobody answered in time",
    InteractionStatus.WITHDRAWN: "no longer needed",
    OperationType.START_CHAT: "new chat",
    OperationType.SEND_MESSAGE: "message",
    OperationType.EXECUTE_PLAN: "plan carried out",
    OperationType.STEER_TURN: "words to a running turn",
    OperationType.FORK_THREAD: "fork",
    OperationType.COMPACT_THREAD: "compaction",
    OperationType.ARCHIVE_THREAD: "archiving",
    OperationType.UNARCHIVE_THREAD: "bringing back",
    "plan_then_execute": "plan",
    "code_review": "review",
    "not_started": "not started",
}
_DECISIONS: Final[Mapping[str, str]] = {
    "accept": "Approve",
    "approved": "Approve",
    "acceptForSession": "Approve for this session",
    "approved_for_session": "Approve for this session",
    "decline": "Decline",
    "denied": "Decline",
    "cancel": "Decline and stop the turn",
    "abort": "Decline and stop the turn",
}
_YES: Final = frozenset({"accept", "approved"})


def presentable(value: object) -> object:
    """What a page may show: no secrets, and no half characters."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return redact(value).encode("utf-8", "replace").decode()


def said(word: str) -> str:
    """A status, phase or kind in words."""
    return _SAID.get(word) or str(word).replace("_", " ")


def tone(word: str) -> str:
    return TONES.get(word, "off")


def decision(offer: object) -> str:
    """What a button says."""
    match offer:
        case str():
            return _DECISIONS.get(offer, said(offer))
        case dict() if len(offer) == 1:
            ((name, inner),) = offer.items()
            return f"{_spaced(str(name))}: {compact(inner)}"
        case _:
            return compact(offer)


def is_yes(offer: object) -> bool:
    return isinstance(offer, str) and offer in _YES


def answer(given: object) -> str:
    """What somebody answered, in the audit."""
    match given:
        case {"decision": offer}:
            return decision(offer)
        case {"action": str(action)}:
            return decision(action)
        case {"answers": dict(answers)}:
            return "; ".join(map(_words, answers.values()))
        case None:
            return ""
        case _:
            return compact(given)


def _words(given: object) -> str:
    match given:
        case str():
            return given
        case list():
            return ", ".join(map(str, given))
        case {"answers": list(words)}:
            return ", ".join(map(str, words))
        case _:
            return compact(given)


def _spaced(name: str) -> str:
    spaced = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name)
    return spaced[:1].upper() + spaced[1:]


def compact(value: object) -> str:
    """JSON in one line."""
    return json.dumps(value, ensure_ascii=False)


def pretty(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


def duration(seconds: float) -> str:
    """`12 s`, `3 min`, `2 h 5 min`, `3 d 4 h`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86_400:
        return _both(whole // 3600, "h", whole % 3600 // 60, "min")
    return _both(whole // 86_400, "d", whole % 86_400 // 3600, "h")


def _both(big: int, unit: str, small: int, smaller: str) -> str:
    return f"{big} {unit}" + (f" {small} {smaller}" if small else "")


def amount(number: float) -> str:
    """`950`, `12.3 k`, `4.5 M`."""
    for size, letter in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return f"{number:.3g}" if number != int(number) else f"{int(number)}"


def clock(moment: Moment) -> str:
    """The time by this machine's calendar, which is the reader's."""
    return datetime.fromtimestamp(moment / 1000).astimezone().strftime("%d %b %H:%M:%S")


def short_hash(text: str) -> str:
    return text[:12]


def project_name(project_id: str) -> str:
    """What people call a project: its id without what makes it unique."""
    return re.sub(r"-[0-9a-f]{8}$", "", project_id)


FILTERS: Final = {
    "said": said,
    "tone": tone,
    "decision": decision,
    "answer": answer,
    "pretty": pretty,
    "compact": compact,
    "duration": duration,
    "amount": amount,
    "clock": clock,
    "iso": isoformat,
    "short_hash": short_hash,
    "project_name": project_name,
}
TESTS: Final = {"yes": is_yes}
