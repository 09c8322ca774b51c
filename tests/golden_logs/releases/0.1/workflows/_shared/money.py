"""Amounts of money as text, for the tools of all workflows."""


def euros(amount: float) -> str:
    return f"{amount:.2f} euros"
