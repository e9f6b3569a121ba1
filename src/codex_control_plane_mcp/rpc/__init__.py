"""The telephone: JSON-RPC over any wire, without a word of Codex's."""
