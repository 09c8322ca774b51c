"""Runs a recorded chat on the current code, with recorded answers, and names the first event that differs."""
