"""Reception: takes wishes in, shows what is on record, waits for changes.

It writes wishes and submissions only, never facts, and asks Codex for nothing: what happens is the
workshop's. It knows no wire format; doors turn arguments into its types and its views into JSON.
"""
