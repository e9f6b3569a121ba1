"""Where the worker's log goes: one file of bounded size, a JSON object on each line, no secrets.

A line tells `at`, `level`, `pid`, `logger` and `message`; `callId` and `operationId` where there
are any (see `correlation`); `exception` after something that should not have happened; and what
whoever logged it has added as `extra={"told": {...}}`.
"""

import json
import logging
import os
from logging.handlers import RotatingFileHandler
from pathlib import Path

from codex_control_plane_mcp import correlation
from codex_control_plane_mcp.clock import Moment, isoformat
from codex_control_plane_mcp.redact import redact_json

#: Kept on disk at most: this much, and one older file of the same size.
MAX_LOG_BYTES = 4_000_000


class JsonLines(logging.Formatter):
    """A record as one line of JSON. Secrets are masked, in tracebacks too."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": isoformat(Moment(round(record.created * 1000))),
            "level": record.levelname,
            "pid": record.process,
            "logger": record.name,
            "message": record.getMessage(),
            **correlation.present(),
            **getattr(record, "told", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        # In ASCII, for half a character from somewhere must not cost the line.
        return json.dumps(redact_json(line), separators=(",", ":"), default=str)


def log_to(path: Path) -> None:
    """Send the log of this process to `path` (mode 0600)."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    handler = RotatingFileHandler(path, maxBytes=MAX_LOG_BYTES, backupCount=1, encoding="utf-8")
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # They say each request, with its address, or each frame at INFO.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    logging.getLogger("mcp").setLevel(logging.WARNING)
    logging.getLogger("websockets").setLevel(logging.WARNING)
