"""What is wrong, and why: facts are gathered in one look, and rules are held against them."""
