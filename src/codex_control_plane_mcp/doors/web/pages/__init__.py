"""The pages, one module for each: its routes, what it reads from the desk, what its forms do."""
