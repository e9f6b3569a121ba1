"""Every error that reaches a caller.

    ControlPlaneError
    ├── InvalidArgument              the call itself is wrong; nothing was stored
    │   └── ProjectNotFound … (NotFound)
    ├── Conflict                     the call is right but cannot be taken now
    │   ├── DuplicatePromptActive
    │   ├── IdempotencyMismatch
    │   └── InteractionUnavailable
    └── Unavailable                  our side or Codex's cannot answer; mostly worth a retry
        ├── StateBusy
        ├── AppServerUnavailable
        ├── Timeout
        └── SendFailed

Rooms raise their own errors; they are translated to these at the desk or the door. A message says
what to do next. Codes are the public contract's.
"""

from collections.abc import Mapping
from typing import ClassVar


class ControlPlaneError(Exception):
    """An error with a public code.

    `details` is JSON data a program may act on; `retryable` says that the same call may succeed
    later without any change.
    """

    code: ClassVar[str] = "CODEX_STATE_BUSY"
    retryable: ClassVar[bool] = False
    #: What its caller should do, in a word that a program can act on.
    next_action: ClassVar[str] = "try_again"

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details: Mapping[str, object] = details


class InvalidArgument(ControlPlaneError):
    code = "INVALID_ARGUMENT"
    next_action = "correct_arguments"


class NotFound(ControlPlaneError):
    """Something named by the caller does not exist."""

    next_action = "look_up_id"


class ProjectNotFound(NotFound):
    code = "CODEX_PROJECT_NOT_FOUND"


class ThreadNotFound(NotFound):
    code = "CODEX_THREAD_NOT_FOUND"


class TurnNotFound(NotFound):
    code = "CODEX_TURN_NOT_FOUND"


class OperationNotFound(NotFound):
    code = "CODEX_OPERATION_NOT_FOUND"


class WorkflowNotFound(NotFound):
    code = "CODEX_WORKFLOW_NOT_FOUND"


class InteractionNotFound(NotFound):
    code = "CODEX_PENDING_INTERACTION_NOT_FOUND"


class Conflict(ControlPlaneError):
    """The call is well formed but something that already happened stands against it."""


class DuplicatePromptActive(Conflict):
    code = "CODEX_DUPLICATE_PROMPT_ACTIVE"
    next_action = "follow_existing_operation"


class IdempotencyMismatch(Conflict):
    code = "CODEX_IDEMPOTENCY_MISMATCH"
    next_action = "use_new_client_request_id"


class InteractionUnavailable(Conflict):
    code = "CODEX_PENDING_INTERACTION_UNAVAILABLE"
    next_action = "list_pending_interactions"


class Busy(Conflict):
    code = "CODEX_BUSY"
    retryable = True


class Unavailable(ControlPlaneError):
    """Our side or Codex's could not answer."""

    retryable = True


class StateBusy(Unavailable):
    code = "CODEX_STATE_BUSY"


class AppServerUnavailable(Unavailable):
    code = "CODEX_APP_SERVER_UNAVAILABLE"
    next_action = "inspect_diagnostics"


class CallTimeout(Unavailable):
    code = "CODEX_TIMEOUT"


class SendFailed(Unavailable):
    code = "CODEX_SEND_FAILED"
    next_action = "inspect_diagnostics"
