"""Codex's words: every wire name stands in this folder and stops here.

`verbs` is what we say, `things` what Codex has, `events` what it reports, `questions` what it asks,
`answers` what we reply. Readers never crash on a message; writers never send what is not on offer.
"""
