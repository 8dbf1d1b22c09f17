"""Runs side by side, with paired intervals."""
