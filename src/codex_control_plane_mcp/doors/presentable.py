"""What may be shown: without secrets, and in valid Unicode: Codex may report half a character."""

from pydantic_core import PydanticSerializationError, to_json

from codex_control_plane_mcp.doors.shape import Json
from codex_control_plane_mcp.redact import redact, redact_json


def presentable(result: Json) -> Json:
    """A result as it may be shown."""
    shown = redact_json(result)
    if not _is_whole(shown):
        shown = _whole_characters(shown)
    assert isinstance(shown, dict)  # noqa: S101  # an object stays an object
    return shown


def presentable_text(text: str) -> str:
    """A text as it may be shown."""
    return _whole(redact(text))


def _is_whole(value: object) -> bool:
    try:
        to_json(value)
    except PydanticSerializationError:
        return False
    return True


def _whole_characters(value: object) -> object:
    match value:
        case str():
            return _whole(value)
        case dict():
            return {_whole_characters(key): _whole_characters(one) for key, one in value.items()}
        case list():
            return [_whole_characters(one) for one in value]
        case _:
            return value


def _whole(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
