"""Starts the server from the package that uv has installed beside this file."""

import sys

from codex_control_plane_mcp.server import main

sys.exit(main(sys.argv[1:]))
