"""Try an installation from the outside: `codex-control-plane-mcp-admin smoke` by its older name.

python scripts/mcp_live_smoke.py --scenario full --cwd PATH --safe-restart
"""

import sys

from codex_control_plane_mcp.doors.cli.admin import main

if __name__ == "__main__":
    sys.argv[1:1] = ["smoke"]
    main()
