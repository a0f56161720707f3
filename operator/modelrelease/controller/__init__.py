"""Observe, decide, do one step, look again: everything that runs."""
