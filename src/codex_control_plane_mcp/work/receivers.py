"""Who is told: a webhook, a command, this machine's desktop. Each within a bounded time.

What is posted to a webhook is signed as Standard Webhooks 1.0 has it, so that its libraries verify
it. The key is read from its file each time: it can be changed while the worker works.
"""

import base64
import binascii
import hashlib
import hmac
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import anyio

from codex_control_plane_mcp.clock import isoformat
from codex_control_plane_mcp.model.notice import Notice
from codex_control_plane_mcp.settings import Settings
from codex_control_plane_mcp.store.notices import ReceiverName
from codex_control_plane_mcp.work.courier import NotTaken, Receiver

#: Whoever takes longer does not have it; it should answer first and work afterwards.
WEBHOOK_SECONDS = 15.0
COMMAND_SECONDS = 60.0

_SECRET_PREFIX = "whsec_"  # noqa: S105  # what every secret begins with is none
_SECRET_BYTES = range(24, 65)
_SECRET_FILE_BYTES = 1_000


def receivers_of(settings: Settings) -> dict[ReceiverName, Receiver]:
    """Those that the settings name: none by default."""
    found: dict[ReceiverName, Receiver] = {}
    url, secret_file = settings.notices_webhook_url, settings.notices_webhook_secret_file
    if url is not None and secret_file is not None:
        found["webhook"] = partial(_post, url, secret_file)
    if settings.notices_command:
        found["command"] = partial(_run, settings.notices_command)
    if settings.notices_desktop:
        found["desktop"] = _show
    return found


def body(notice: Notice) -> bytes:
    """A notice as its receivers get it: the same each time it is sent."""
    said = {
        "id": notice.id,
        "event": notice.event.value,
        "summary": notice.summary,
        "createdAt": isoformat(notice.created_at),
        "operationId": notice.operation_id,
        "operationType": notice.operation_type,
        "projectId": notice.project_id,
        "status": notice.status,
        "threadId": notice.thread_id,
        "turnId": notice.turn_id,
        "workflowId": notice.workflow_id,
        "workflowPhase": notice.workflow_phase,
        "interactionId": notice.interaction_id,
        "interactionKind": notice.kind,
        "text": notice.text,
    }
    known = {name: value for name, value in said.items() if value is not None}
    return json.dumps(known, ensure_ascii=False, separators=(",", ":")).encode()


# --- A webhook -----------------------------------------------------------------------------------


async def _post(url: str, secret_file: Path, notice: Notice) -> None:
    import httpx2  # only those pay for it who have a webhook

    content = body(notice)
    headers = signed(_key_in(secret_file), notice.id, int(time.time()), content)
    try:
        with anyio.fail_after(WEBHOOK_SECONDS):
            async with (
                # A proxy that the environment names would read what is sent over plain http. A
                # redirect is not followed: it would take a notice where nobody said it may go.
                httpx2.AsyncClient(
                    timeout=WEBHOOK_SECONDS,
                    trust_env=urlsplit(url).scheme == "https",
                    follow_redirects=False,
                ) as client,
                # What it says beside its status is not read.
                client.stream("POST", url, content=content, headers=headers) as answer,
            ):
                if not answer.is_success:
                    raise NotTaken(f"the webhook answered {answer.status_code}")
    except TimeoutError as error:
        raise NotTaken(f"the webhook did not answer in {WEBHOOK_SECONDS:g} s") from error
    except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:
        raise NotTaken(f"the webhook cannot be reached ({type(error).__name__})") from error


def signed(key: bytes, notice_id: str, at: int, content: bytes) -> dict[str, str]:
    """The headers that prove who sent this, and when."""
    said = f"{notice_id}.{at}.".encode() + content
    signature = base64.b64encode(hmac.digest(key, said, hashlib.sha256)).decode()
    return {
        "content-type": "application/json",
        "webhook-id": notice_id,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{signature}",
    }


def _key_in(secret_file: Path) -> bytes:
    try:
        with secret_file.open("rb") as file:
            stated = file.read(_SECRET_FILE_BYTES).decode().strip()
        key = base64.b64decode(stated.removeprefix(_SECRET_PREFIX), validate=True)
    except OSError as error:
        raise NotTaken(f"the secret file {secret_file}: {error.strerror}") from error
    except (UnicodeDecodeError, binascii.Error) as error:
        raise NotTaken(f"the secret file {secret_file} holds no base64") from error
    if len(key) not in _SECRET_BYTES:
        raise NotTaken(f"the secret in {secret_file} must have 24 to 64 bytes, in base64")
    return key


# --- A command, and the desktop ------------------------------------------------------------------


async def _run(argv: Sequence[str], notice: Notice) -> None:
    """Raises NotTaken unless it ends with exit code 0 in time; then it is killed."""
    await _ended_well(argv, body(notice), COMMAND_SECONDS)


async def _show(notice: Notice) -> None:
    argv = _desktop_command(notice)
    if argv is None:
        raise NotTaken("this machine has nothing to show it with")
    await _ended_well(argv, body(notice), COMMAND_SECONDS)


async def _ended_well(argv: Sequence[str], given: bytes, seconds: float) -> None:
    try:
        with anyio.fail_after(seconds):
            done = await anyio.run_process(
                argv,
                input=given,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
            )
    except TimeoutError as error:
        raise NotTaken(f"{argv[0]} did not end in {seconds:g} s") from error
    except OSError as error:
        raise NotTaken(f"{argv[0]} cannot be run: {error.strerror}") from error
    if done.returncode != 0:
        raise NotTaken(f"{argv[0]} ended with exit code {done.returncode}")


def _desktop_command(notice: Notice) -> Sequence[str] | None:
    """Shows the notice. Its words are arguments or input, never a part of a program."""
    words = f"{notice.project_id}: {notice.summary}" if notice.project_id else notice.summary
    if sys.platform == "darwin":
        return ("osascript", *_OSASCRIPT, _TITLE, words)
    if sys.platform == "win32":
        return ("powershell", "-NoProfile", "-NonInteractive", "-Command", _POWERSHELL)
    if shutil.which("notify-send") is None:
        return None
    return ("notify-send", "--app-name", _TITLE, "--", _TITLE, words)


_TITLE: Final = "Codex"
_OSASCRIPT: Final = (
    "-e",
    "on run argv",
    "-e",
    "display notification (item 2 of argv) with title (item 1 of argv)",
    "-e",
    "end run",
)
_POWERSHELL: Final = """
$notice = [Console]::In.ReadToEnd() | ConvertFrom-Json
Add-Type -AssemblyName System.Windows.Forms, System.Drawing
$icon = New-Object System.Windows.Forms.NotifyIcon
$icon.Icon = [System.Drawing.SystemIcons]::Information
$icon.Visible = $true
$icon.ShowBalloonTip(10000, 'Codex', $notice.summary, 'Info')
Start-Sleep -Seconds 10
$icon.Dispose()
"""
