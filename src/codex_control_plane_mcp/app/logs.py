"""Where the worker's log goes: one file of bounded size, without secrets."""

import logging
import os
from logging.handlers import RotatingFileHandler
from pathlib import Path

from codex_control_plane_mcp.redact import redact

#: Kept on disk at most: this much, and one older file of the same size.
MAX_LOG_BYTES = 4_000_000


class _Redacting(logging.Formatter):
    """Masks secrets in the finished line, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def log_to(path: Path) -> None:
    """Send the log of this process to `path` (mode 0600)."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    handler = RotatingFileHandler(path, maxBytes=MAX_LOG_BYTES, backupCount=1, encoding="utf-8")
    handler.setFormatter(_Redacting("%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # Both say each request or frame at INFO.
    logging.getLogger("mcp").setLevel(logging.WARNING)
    logging.getLogger("websockets").setLevel(logging.WARNING)
