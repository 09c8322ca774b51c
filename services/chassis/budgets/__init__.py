"""Budgets over JetStream: the limits that are set, and the ledgers of what was used."""
