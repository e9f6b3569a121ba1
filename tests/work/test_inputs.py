"""What a message with pictures is on the wire, and when it cannot be sent any more."""

from pathlib import Path

from codex_control_plane_mcp.model.request import LocalImage, RemoteImage
from codex_control_plane_mcp.work.inputs import input_of, missing

PNG = LocalImage("/shop/till.png")
URL = RemoteImage("https://example.com/a.png", "high")


def test_words_come_first_then_pictures_in_their_order() -> None:
    assert [item.to_wire() for item in input_of("Look.", [URL, PNG])] == [
        {"type": "text", "text": "Look.", "text_elements": []},
        {"type": "image", "url": "https://example.com/a.png", "detail": "high"},
        {"type": "localImage", "path": "/shop/till.png"},
    ]


def test_a_picture_to_be_looked_at_briefly_is_shown_all_the_same() -> None:
    [_, picture] = input_of("Look.", [LocalImage("/shop/till.png", "low")])
    assert picture.to_wire() == {"type": "localImage", "path": "/shop/till.png", "detail": "auto"}


def test_a_picture_that_is_gone_is_missed_by_name(tmp_path: Path) -> None:
    here = tmp_path / "here.png"
    here.touch()
    gone = LocalImage(str(tmp_path / "gone.png"))
    assert missing([URL, LocalImage(str(here))]) is None
    assert missing([LocalImage(str(here)), gone]) == (
        f"the picture {gone.path} is gone, so Codex was not asked; submit the task again"
    )
