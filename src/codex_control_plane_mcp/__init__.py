"""A durable, local-first control plane over OpenAI Codex, spoken to as an MCP server."""

__version__ = "0.3.0"
