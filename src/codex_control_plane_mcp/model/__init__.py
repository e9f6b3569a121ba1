"""What the product is about, as pure values and functions: no clock, no disk, no wire."""
