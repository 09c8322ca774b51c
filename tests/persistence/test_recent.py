"""A bounded cache evicts what was used longest ago."""

from services.persistence.recent import Recent


def test_the_value_used_longest_ago_is_evicted() -> None:
    recent: Recent[str, int] = Recent(2)
    recent.put("a", 1)
    recent.put("b", 2)
    assert recent.get("a") == 1
    recent.put("c", 3)
    assert [recent.get(key) for key in "abc"] == [1, None, 3]


def test_a_value_is_replaced_and_discarded() -> None:
    recent: Recent[str, int] = Recent(2)
    recent.put("a", 1)
    recent.put("a", 2)
    recent.put("b", 3)
    assert recent.get("a") == 2
    recent.discard("a")
    recent.discard("a")
    assert recent.get("a") is None
