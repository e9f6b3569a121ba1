"""Which tool call and which operation the present task works for: every line of the log says it.

One id leads from a call to its turn: a call that makes an operation is logged with both ids, and
whatever is done for the operation later bears the operation's.
"""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

_present: ContextVar[Mapping[str, str]] = ContextVar("correlation", default={})  # noqa: B039


def new_call_id() -> str:
    return f"call_{secrets.token_hex(8)}"


@contextmanager
def working_for(**ids: str) -> Iterator[None]:
    """What is logged meanwhile, here and in the tasks that are started here, bears these ids."""
    token = _present.set({**_present.get(), **ids})
    try:
        yield
    finally:
        _present.reset(token)


def present() -> Mapping[str, str]:
    """The ids that count now."""
    return _present.get()
