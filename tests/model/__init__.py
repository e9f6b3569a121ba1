"""Tests of what the product is about: pure, so most of them are properties."""
