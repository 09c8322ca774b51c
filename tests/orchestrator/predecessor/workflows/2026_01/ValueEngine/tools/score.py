def score(points: int, context_variables: dict) -> int:
    """Keep the score, 0 to 10."""
    context_variables["score"] = max(0, min(points, 10))
    return context_variables["score"]
