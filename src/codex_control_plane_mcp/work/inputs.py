"""What a message is made of, in Codex's words; and whether it can still be read."""

from collections.abc import Sequence
from pathlib import Path

from codex_control_plane_mcp.codex.words import verbs
from codex_control_plane_mcp.codex.words.verbs import InputItem
from codex_control_plane_mcp.model.request import Attachment, LocalImage, RemoteImage


def input_of(message: str, attachments: Sequence[Attachment] = ()) -> tuple[InputItem, ...]:
    """The words, then the pictures in the order in which they were given."""
    return (verbs.Text(message), *(_picture(one) for one in attachments))


def _picture(attachment: Attachment) -> InputItem:
    # A picture at detail "low" is left out by Codex, and the model told so in words.
    detail = "auto" if attachment.detail == "low" else attachment.detail
    match attachment:
        case LocalImage(path=path):
            return verbs.LocalImage(path, detail)
        case RemoteImage(url=url):
            return verbs.ImageUrl(url, detail)


def missing(attachments: Sequence[Attachment]) -> str | None:
    """Why these cannot be given to Codex any more, if so.

    A picture that it cannot find is no error to Codex: it tells the model so in words, and the
    model answers without having seen it.
    """
    for one in attachments:
        if isinstance(one, LocalImage) and not Path(one.path).is_file():
            return f"the picture {one.path} is gone, so Codex was not asked; submit the task again"
    return None
