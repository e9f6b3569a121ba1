"""Tests of the book: one suite over SQLite and PostgreSQL."""
