"""The private CODEX_HOME: what is written for Codex to read."""

import json
import tomllib
from pathlib import Path

from codex_control_plane_mcp.scripted_model import write_codex_home


def test_the_only_provider_is_the_scripted_one_and_nothing_is_tried_twice(tmp_path: Path) -> None:
    home = write_codex_home(tmp_path / "home", "http://127.0.0.1:1/")

    config = tomllib.loads((home / "config.toml").read_text())
    provider = config["model_providers"][config["model_provider"]]
    assert provider["base_url"] == "http://127.0.0.1:1/v1"
    assert (provider["request_max_retries"], provider["stream_max_retries"]) == (0, 0)


def test_the_catalogue_knows_the_model(tmp_path: Path) -> None:
    home = write_codex_home(tmp_path / "home", "http://127.0.0.1:1", 'odd "näme" 😀')

    config = tomllib.loads((home / "config.toml").read_text("utf-8"))
    (model,) = json.loads(Path(config["model_catalog_json"]).read_text("utf-8"))["models"]
    assert model["slug"] == config["model"] == 'odd "näme" 😀'


def test_more_configuration_is_added_at_the_end(tmp_path: Path) -> None:
    home = write_codex_home(
        tmp_path / "home",
        "http://127.0.0.1:1",
        stream_max_retries=2,
        more_config='[mcp_servers.x]\ncommand = "y"\n',
    )

    config = tomllib.loads((home / "config.toml").read_text())
    assert config["mcp_servers"]["x"]["command"] == "y"
    assert config["model_providers"]["scripted"]["stream_max_retries"] == 2
