"""The whole runtime under a load of turns: its processes, a model without latency, and the clients."""
