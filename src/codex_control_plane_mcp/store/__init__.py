"""The book: every operation, question, wish and journal entry, in SQL.

Only this room knows SQL, and only `store.operations` changes an operation's state.
"""
