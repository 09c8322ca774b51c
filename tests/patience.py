"""How long a test waits for what will happen: machines are shared, and a limit only ends what hangs."""

PATIENCE_SECONDS = 60.0
