"""What power loss may leave of the book, and that it is enough."""
