"""What can go wrong in a call.

RpcError
├── RemoteError        the other side answered with an error
├── Disconnected       the wire is cut
│   ├── NotSent        … before a byte was written: the other side never heard of the call
│   └── MaybeSent      … later: it may have carried it out
└── TimedOut           no answer in time: it may have carried it out, or still do so
"""

from codex_control_plane_mcp.rpc.values import Json


class RpcError(Exception):
    """A call without a result."""


class RemoteError(RpcError):
    """The other side's error answer."""

    def __init__(self, code: int, message: str, data: Json = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.data = data


class Disconnected(RpcError):
    """The wire is cut."""


class NotSent(Disconnected):
    """The other side has never heard of the call."""


class MaybeSent(Disconnected):
    """The other side may have carried out the call."""


class TimedOut(RpcError):
    """The other side may have carried out the call, or may still do so."""

    def __init__(self, method: str, seconds: float) -> None:
        super().__init__(f"no answer to {method} within {seconds:g} s")
        self.method = method
        self.seconds = seconds
