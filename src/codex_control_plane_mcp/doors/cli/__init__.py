"""The door for people: `codex-control-plane-mcp-admin` and `codex-control-plane-mcp-hooks`.

One module for each command. What is heavy (the MCP SDK, the scripted model) is imported by the
command that needs it, when it runs.
"""
