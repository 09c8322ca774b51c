"""Messages that no process could handle: stored with the reason, listed, shown, re-driven, dropped."""
