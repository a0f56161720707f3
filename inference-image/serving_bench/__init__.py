"""Measures the server against what the same machine does without one."""
