"""Logs as each release has written them: every later release folds, exports and replays them alike."""
