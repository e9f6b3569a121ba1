"""The door for MCP clients: tools over the official SDK, their arguments and results.

It parses, calls the desk, and spells the answer. It decides nothing.
"""
