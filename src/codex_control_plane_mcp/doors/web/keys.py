"""Who may see the page: links that work once, and the sessions that they begin.

A session outlives the worker that began it: it is signed with a key that lies beside the state,
private to this user. Whoever can read that can read the state.
"""

import hmac
import json
import secrets
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from codex_control_plane_mcp.clock import Clock, Moment, later
from codex_control_plane_mcp.paths import replace_file

#: A link is made to be opened now.
LINK_SECONDS = 5 * 60
SESSION_SECONDS = 7 * 86_400
#: More links than this at a time are nobody's wish: the oldest goes.
MAX_LINKS = 16


@dataclass(frozen=True, slots=True)
class Kept:
    """What outlives a worker."""

    port: int
    secret: str


def read(path: Path) -> Kept | None:
    """None where the page was never asked for, or the file is not to be used."""
    try:
        match json.loads(path.read_bytes()):
            case {"port": int(port), "secret": str(secret)} if 0 < port < 65_536 and secret:
                return Kept(port, secret)
            case _:
                return None
    except (OSError, ValueError):
        return None


def keep(path: Path, kept: Kept) -> None:
    stored = json.dumps({"port": kept.port, "secret": kept.secret})
    replace_file(str(path), stored.encode() + b"\n")


@dataclass(frozen=True, slots=True)
class Session:
    id: str
    ends_at: Moment


class Keys:
    """Makes links and sessions, and knows its own."""

    def __init__(self, secret: str, clock: Clock) -> None:
        self._secret = secret.encode()
        self._clock = clock
        #: Digest of the key of a link that nobody used yet, and until when it may be used.
        self._links: dict[str, Moment] = {}
        #: Every page lies below this folder, and the cookie goes nowhere else: browsers send the
        #: cookies of 127.0.0.1 to each of its ports, whoever listens there.
        self.place = self._sign("place")[:16]

    @property
    def cookie(self) -> str:
        return "codex_control_plane"

    def new_link_key(self) -> str:
        key = secrets.token_urlsafe(24)
        self._links[_digest(key)] = later(self._clock.now(), LINK_SECONDS)
        while len(self._links) > MAX_LINKS:
            del self._links[next(iter(self._links))]
        return key

    def use_link(self, key: str) -> str | None:
        """A new session's cookie, once for each link; None for a key that is none (any more)."""
        until = self._links.pop(_digest(key), None)
        now = self._clock.now()
        if until is None or until < now:
            return None
        told = f"{secrets.token_hex(8)}.{later(now, SESSION_SECONDS)}"
        return f"{told}.{self._sign('session', told)}"

    def session(self, cookie: str) -> Session | None:
        """The session of a cookie, if it is one of ours and not over."""
        told, _, signature = cookie.rpartition(".")
        id_, _, ends_at = told.partition(".")
        if not _same(signature, self._sign("session", told)):
            return None
        session = Session(id_, Moment(int(ends_at)))
        return session if self._clock.now() < session.ends_at else None

    def form_token(self, session: Session) -> str:
        """What every form of a session carries: a page elsewhere cannot know it."""
        return self._sign("form", session.id)

    def is_form_token(self, session: Session, token: str) -> bool:
        return _same(token, self.form_token(session))

    def _sign(self, *words: str) -> str:
        return hmac.new(self._secret, "\n".join(words).encode(), sha256).hexdigest()


def _same(given: str, ours: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), ours.encode())


def _digest(key: str) -> str:
    return sha256(key.encode("utf-8", "replace")).hexdigest()
