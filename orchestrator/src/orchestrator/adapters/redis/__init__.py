"""Hints in Redis. What it holds may be lost at any time."""
