"""Messages that could never be handled: kept with the reason, listed, shown, re-driven, dropped."""
