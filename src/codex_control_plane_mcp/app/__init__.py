"""Puts the house together: settings, book, Codex, workshop, desk, doors."""
