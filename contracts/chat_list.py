"""Limits of what a user may set in their list of chats."""

MAX_TITLE_CHARS = 80
"""Of a chat's title."""
MAX_GRACE_SECONDS = 10 * 366 * 24 * 3600
"""Between the deletion of a chat and the time from which on it may be erased."""
