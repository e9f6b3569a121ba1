"""What a turn may do: sandbox, approval policy, and the folders it may work in."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import PurePath


class Sandbox(StrEnum):
    """Codex's sandbox modes, from the safest to the most powerful."""

    READ_ONLY = "read-only"
    WORKSPACE_WRITE = "workspace-write"
    DANGER_FULL_ACCESS = "danger-full-access"


class ApprovalPolicy(StrEnum):
    """When Codex asks before it acts."""

    #: Ask for everything that is not known to be safe.
    UNTRUSTED = "untrusted"
    #: The model asks when it wants to leave the sandbox.
    ON_REQUEST = "on-request"
    #: Never ask; what the sandbox forbids fails.
    NEVER = "never"


def is_within(path: PurePath, roots: Sequence[PurePath]) -> bool:
    """Whether `path` is one of `roots` or below one. All must be absolute and already resolved
    (symlinks and `..` gone): text alone cannot tell where a path leads."""
    return any(path == root or root in path.parents for root in roots)
