"""Tokens for programs that come in over HTTP: each in a file for its owner alone."""

from hmac import compare_digest
from pathlib import Path
from secrets import token_urlsafe

from codex_control_plane_mcp.paths import replace_file

#: With a refusal, 401.
CHALLENGE = {"WWW-Authenticate": "Bearer"}
REFUSAL = "the token is needed: Authorization: Bearer …\n"


def kept_token(path: Path) -> str:
    """The token in this file, made when it is first asked for."""
    if not path.exists():
        replace_file(str(path), f"{token_urlsafe(32)}\n".encode())
    return path.read_text(encoding="ascii").strip()


def is_borne(authorization: str, token: str) -> bool:
    """Whether a request's `Authorization` shows the token."""
    return compare_digest(authorization.encode("utf-8", "replace"), f"Bearer {token}".encode())
