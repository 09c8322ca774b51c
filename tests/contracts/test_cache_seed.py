import pytest

from contracts.cache_seed import cache_seed


@pytest.mark.parametrize(
    ("app", "chat", "seed"),
    [
        ("acme_corp", "chat_abc123", 1607456783),
        ("local-dev", "11111111-2222-3333-4444-555555555555", 3114405819),
        ("", "chat_abc123", 2567341431),
    ],
)
def test_a_chat_has_the_seed_that_its_name_gives(app: str, chat: str, seed: int) -> None:
    assert cache_seed(app, chat) == seed
