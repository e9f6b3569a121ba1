"""Questions that Codex asks people, and what counts as an answer.

An interaction is pending until one of four things is known: Codex has got an answer, it was
declined for want of one, Codex no longer waits, or its turn is gone. An answer somebody gave is a
wish (see `store.wishes`) until Codex has got it; nothing else ever counts as accepted.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.model.ids import (
    AppServerId,
    InteractionId,
    OperationId,
    ThreadId,
    TurnId,
)


class Kind(StrEnum):
    APPROVAL = "approval"
    PERMISSIONS = "permissions"
    USER_INPUT = "user_input"
    ELICITATION = "elicitation"


class InteractionStatus(StrEnum):
    PENDING = "pending"
    #: Codex got the answer.
    ANSWERED = "answered"
    #: Nobody answered in time: Codex was told "no".
    AUTO_DECLINED = "auto_declined"
    #: Nobody answered in time, and Codex could not be told.
    EXPIRED = "expired"
    #: Codex no longer waits: its turn ended or somebody answered in Codex itself.
    WITHDRAWN = "withdrawn"


CLOSED: Final = frozenset(InteractionStatus) - {InteractionStatus.PENDING}


@dataclass(frozen=True, slots=True)
class Option:
    label: str
    description: str


@dataclass(frozen=True, slots=True)
class Question:
    id: str
    header: str
    text: str
    options: tuple[Option, ...] = ()
    #: The answer is a secret: it is sent to Codex and stored nowhere else.
    is_secret: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """What Codex asked, as a person must see it to judge it."""

    app_server_id: AppServerId
    #: The JSON-RPC id of the request, as JSON text: Codex uses small integers, but may use strings.
    request_id: str
    kind: Kind
    method: str
    thread_id: ThreadId
    turn_id: TurnId | None
    item_id: str | None
    prompt: str
    command: str | None = None
    cwd: str | None = None
    reason: str | None = None
    #: JSON texts or plain words: what Codex offers to choose from.
    available_decisions: tuple[object, ...] = ()
    questions: tuple[Question, ...] = ()
    risk_summary: str | None = None
    #: The rest of the request that a person may want to see (permissions, schema, changed files).
    details: object = None


@dataclass(frozen=True, slots=True)
class Interaction:
    id: InteractionId
    operation_id: OperationId
    asked: Asked
    status: InteractionStatus
    created_at: Moment
    expires_at: Moment | None
    closed_at: Moment | None
    #: Who gave the answer, while it is on its way and after.
    answered_by: str | None
    answered_at: Moment | None
    #: The answer as JSON data, without secrets.
    answer: object


@dataclass(frozen=True, slots=True)
class Decision:
    """Yes, no, or one of the richer choices Codex offered (an object)."""

    choice: object


@dataclass(frozen=True, slots=True)
class Words:
    """Answers by question id."""

    answers: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Grant:
    """Permissions granted, for this turn or for the session."""

    permissions: object
    scope: str


@dataclass(frozen=True, slots=True)
class Form:
    """The answer to an MCP server's elicitation."""

    action: str
    content: object


Answer: TypeAlias = Decision | Words | Grant | Form
