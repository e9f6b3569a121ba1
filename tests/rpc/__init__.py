"""Tests of the telephone."""
