"""What a caller may ask of a turn, and what it gets without asking: the one place for both.

Whoever makes a request asks here, so that no way in leads past the ceilings of the settings.
"""

from collections.abc import Mapping

from codex_control_plane_mcp.errors import InvalidArgument
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox
from codex_control_plane_mcp.model.request import CollaborationMode, TurnOptions
from codex_control_plane_mcp.settings import Settings


def options_for(
    settings: Settings,
    *,
    sandbox: Sandbox | None = None,
    approval_policy: ApprovalPolicy | None = None,
    model: str | None = None,
    effort: str | None = None,
    collaboration_mode: CollaborationMode = CollaborationMode.DEFAULT,
    output_schema: Mapping[str, object] | None = None,
) -> TurnOptions:
    """How a turn is to run, with the settings' defaults for what is left open.

    Raises InvalidArgument, naming the ceiling, for what the settings do not allow.
    """
    return TurnOptions(
        sandbox=_allowed_sandbox(settings, sandbox or Sandbox(settings.default_sandbox)),
        approval_policy=_allowed_approval_policy(
            settings, approval_policy or ApprovalPolicy(settings.default_approval_policy)
        ),
        model=model or settings.default_model,
        effort=effort or settings.default_effort,
        collaboration_mode=collaboration_mode,
        output_schema=output_schema,
    )


def _allowed_sandbox(settings: Settings, wanted: Sandbox) -> Sandbox:
    every = list(Sandbox)
    allowed = every[: every.index(Sandbox(settings.max_sandbox)) + 1]
    if wanted not in allowed:
        raise _above_ceiling("sandbox", wanted, "CODEX_MCP_MAX_SANDBOX", allowed)
    return wanted


def _allowed_approval_policy(settings: Settings, wanted: ApprovalPolicy) -> ApprovalPolicy:
    allowed = [ApprovalPolicy(name) for name in settings.allowed_approval_policies]
    if wanted not in allowed:
        raise _above_ceiling(
            "approval_policy", wanted, "CODEX_MCP_ALLOWED_APPROVAL_POLICIES", allowed
        )
    return wanted


def _above_ceiling(
    field: str, wanted: str, ceiling: str, allowed: list[Sandbox] | list[ApprovalPolicy]
) -> InvalidArgument:
    return InvalidArgument(
        f"{field} {wanted} is not allowed here: {ceiling} allows {', '.join(allowed)}",
        field=field,
        ceiling=ceiling,
        allowed=list(allowed),
    )
