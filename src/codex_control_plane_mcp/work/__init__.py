"""The workshop: takes operations from the book, drives them through Codex, writes down facts.

It knows doors only by the wishes they leave in the book.
"""
