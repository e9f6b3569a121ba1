"""Speaks app-server: its words, one session per connection, inboxes, and who starts the process."""
