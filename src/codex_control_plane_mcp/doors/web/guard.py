"""What stands before every page: only this machine, only our own host name, only our sessions.

Pure ASGI, so that a stream passes through as it is. What a page needs to know of its session is in
`scope["state"]`.
"""

from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from codex_control_plane_mcp.doors.web.keys import Keys

#: Nothing from elsewhere, nothing inline, nothing that frames it or that it sends forms to.
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS: Final = (
    ("Content-Security-Policy", POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    # Not `no-referrer`: browsers then hide the origin of our own forms from us.
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
SESSION_IS_OVER: Final = (
    "This page needs a session, and there is none or it is over.\n"
    "Run `codex-control-plane-mcp-admin open` to open it.\n"
)


class Guard:
    """Refuses who does not belong here, before anything else looks at the request."""

    def __init__(self, app: ASGIApp, keys: Keys, port: int, free: Iterable[str]) -> None:
        """`free`: the paths that need no session, or look for themselves who comes."""
        self._app = app
        self._keys = keys
        self._hosts = frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})
        self._free = frozenset(free)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        answer = self._refusal(scope) or self._app
        await answer(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        # A name that leads here by a trick of DNS is not ours.
        if host not in self._hosts:
            return PlainTextResponse("not the name of this page\n", 421)
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        if not _is_plain(raw):
            return PlainTextResponse("no such page\n", 404)
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return PlainTextResponse("this page reads and takes forms\n", 405)
        if scope["method"] == "POST" and not _is_from_here(headers, host):
            return PlainTextResponse("this form does not come from this page\n", 403)
        if scope["path"] in self._free:
            return None
        session = self._keys.session(_cookie(headers, self._keys.cookie))
        if session is None:
            return PlainTextResponse(SESSION_IS_OVER, 401)
        scope.setdefault("state", {})["session"] = session
        return None


def _is_plain(path: bytes) -> bool:
    """No page of ours has a name that must be escaped, or that leads elsewhere."""
    return not any(odd in path for odd in (b"%", b"..", b"//", b"\\", b"\0"))


def _is_from_here(headers: Headers, host: str) -> bool:
    """Whether a form was sent by a page of ours, by the browser's own word."""
    if headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return False
    if headers.get("content-type", "").partition(";")[0] != "application/x-www-form-urlencoded":
        return False
    return headers.get("origin") == f"http://{host}"


def _cookie(headers: Headers, name: str) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return "" if found is None else found.value


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS:
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return sending


def caller(request: Request) -> str:
    """Who answers, as the audit shall name them: the door, the browser and the session."""
    agent = request.headers.get("user-agent", "")
    known = (
        ("Edg/", "Edge"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    )
    browser = next((name for mark, name in known if mark in agent), "a browser")
    return f"web:{browser} (session {request.state.session.id[:4]})"
