"""Hosts without a network between them but what a test lets through (Linux, as root).

An island is a network namespace: a loopback of its own, and nothing else. Unix sockets work across
it, so clients and tests reach its worker and its Codex as ever. The model and PostgreSQL are
relayed to addresses of its loopback; the way to PostgreSQL can be cut there as a cable is, without
a word to either end.
"""

import ctypes
import os
import secrets
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache

#: Where PostgreSQL is, seen from an island.
DATABASE = ("127.0.0.2", 5432)
_CLONE_NEWNET = 0x40000000
#: As PostgreSQL's own end of a connection: it is given up after 25 seconds without a sign.
_NOTICES_LOSS = {
    socket.TCP_KEEPIDLE: 10,
    socket.TCP_KEEPINTVL: 5,
    socket.TCP_KEEPCNT: 3,
    socket.TCP_USER_TIMEOUT: 25_000,
}

Dial = Callable[[], socket.socket]


@cache
def can_be_made() -> bool:
    """Whether this machine lets us."""
    if os.geteuid() != 0 or not (shutil.which("ip") and shutil.which("nsenter")):
        return False
    try:
        with island():
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


@dataclass
class Island:
    name: str
    _relays: ExitStack
    _cuts: int = 0

    @property
    def within(self) -> tuple[str, ...]:
        """What a command is begun with to run here."""
        return ("nsenter", f"--net=/run/netns/{self.name}")

    def relay(self, address: tuple[str, int], dial: Dial) -> None:
        """Whoever connects to `address` here is connected to what `dial` reaches outside."""
        listener = self._relays.enter_context(self._listen(address))
        self._relays.callback(listener.shutdown, socket.SHUT_RDWR)
        threading.Thread(target=_relay, args=(listener, dial), daemon=True).start()

    @property
    def is_cut(self) -> bool:
        return self._cuts > 0

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Let nothing pass between here and the database. Several may want that at once."""
        self._cuts += 1
        try:
            if self._cuts == 1:
                _ip("-n", self.name, "rule", "add", "pref", "1", "to", DATABASE[0], "blackhole")
                _ip("-n", self.name, "rule", "add", "pref", "2", "from", DATABASE[0], "blackhole")
            yield
        finally:
            self._cuts -= 1
            if not self._cuts:
                _ip("-n", self.name, "rule", "del", "pref", "1")
                _ip("-n", self.name, "rule", "del", "pref", "2")

    def _listen(self, address: tuple[str, int]) -> socket.socket:
        """A socket of this namespace. The thread that makes it stays there, so it is one of its
        own."""
        made: list[socket.socket] = []

        def listen() -> None:
            namespace = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
            try:
                if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET) == 0:
                    made.append(socket.create_server(address, backlog=128))
            finally:
                os.close(namespace)

        thread = threading.Thread(target=listen)
        thread.start()
        thread.join()
        return made[0]


@contextmanager
def island() -> Iterator[Island]:
    """A namespace, gone at the end with all its relays."""
    name = f"ccp-{secrets.token_hex(4)}"
    _ip("netns", "add", name)
    try:
        _ip("-n", name, "link", "set", "lo", "up")
        # The rule for local addresses comes first of all; what cuts must come before it.
        _ip("-n", name, "rule", "add", "pref", "100", "lookup", "local")
        _ip("-n", name, "rule", "del", "pref", "0")
        with ExitStack() as relays:
            yield Island(name, relays)
    finally:
        _ip("netns", "del", name)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def _relay(listener: socket.socket, dial: Dial) -> None:
    while True:
        try:
            near, _ = listener.accept()
        except OSError:
            return  # The island is gone.
        threading.Thread(target=_carry, args=(near, dial), daemon=True).start()


def _carry(near: socket.socket, dial: Dial) -> None:
    near.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _NOTICES_LOSS.items():
        near.setsockopt(socket.IPPROTO_TCP, option, value)
    with near, suppress(OSError), dial() as far:
        back = threading.Thread(target=_pump, args=(far, near))
        back.start()
        _pump(near, far)
        back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Carry bytes one way; an end, or a line that is given up, ends both ways."""
    with suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    for one in (source, sink):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
