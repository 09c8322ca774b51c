"""Why a retry, an edit or a rewind is refused: the error's code and what the user reads. Pure."""

from collections.abc import Mapping
from typing import Literal

from contracts.events.chat import RewindRefusal

RefusalCode = Literal[
    "ANSWER_RUNNING",
    "CHAT_CHANGED",
    "NOT_A_RESTING_POINT",
    "NOT_EDITABLE",
    "NOTHING_TO_RETRY",
    "NOTHING_TO_REWIND",
    "TOO_MANY_REWINDS",
]

REFUSALS: Mapping[RewindRefusal, tuple[RefusalCode, str]] = {
    "answer_running": (
        "ANSWER_RUNNING",
        "chat_id: an answer is running; stop it first, or wait for its end",
    ),
    "chat_changed": (
        "CHAT_CHANGED",
        "seen_seq: the chat has changed since this event; look at it again",
    ),
    "not_a_resting_point": (
        "NOT_A_RESTING_POINT",
        "to_seq: the chat did not wait for the user at this event, or the event was rewound",
    ),
    "not_editable": (
        "NOT_EDITABLE",
        "message_seq: no message that can be edited, or it was sent while an answer was running",
    ),
    "nothing_to_retry": ("NOTHING_TO_RETRY", "chat_id: no agent has had a turn in this chat"),
    "nothing_to_rewind": ("NOTHING_TO_REWIND", "to_seq: is the chat's last event already"),
    "too_many_rewinds": (
        "TOO_MANY_REWINDS",
        "chat_id: this chat was rewound too often; start a new one",
    ),
}
