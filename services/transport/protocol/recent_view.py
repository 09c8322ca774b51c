"""View of a long chat from a stored snapshot and the events around its end. Pure."""

from dataclasses import fields

from contracts.chat_snapshot import ChatSnapshot
from contracts.event_log import StoredEvent
from contracts.events.turn import ModelRequested, ModelResponded, SpeakerSelected
from contracts.frozen import replace
from services.transport.protocol.chat_projection import ChatView, apply

_SNAPSHOT_FIELDS = tuple(field.name for field in fields(ChatSnapshot))


class RecentFold:
    """Folds a chat from an event on, as if it began there, and takes the rest from the snapshot.

    The view is not complete where these events do not reach the snapshot, or do not tell all that a
    view needs: what is asked, and which model call is open.
    """

    def __init__(self, snapshot: ChatSnapshot) -> None:
        self._snapshot = snapshot
        self._knows_call = snapshot.ended_at is not None
        self.view: ChatView | None = None
        self.is_complete = False

    def add(self, stored: StoredEvent) -> None:
        """Fold the next event; the first one may be any."""
        if self.view is None:
            whole = stored.envelope.seq == 1
            self.view = replace(ChatView.before(stored.envelope), is_whole=whole)
            self.is_complete = whole
        self.view = apply(self.view, stored.envelope, stored.event)
        self._knows_call |= isinstance(
            stored.event, SpeakerSelected | ModelRequested | ModelResponded
        )
        if stored.envelope.seq == self._snapshot.last_seq and not self.view.is_whole:
            self._merge(self.view)

    def _merge(self, view: ChatView) -> None:
        snapshot = self._snapshot
        asked = [one.question_id for one in snapshot.open_questions]
        self.is_complete = self._knows_call and all(one in view.question_seqs for one in asked)
        if self.is_complete:
            self.view = replace(
                view,
                **{name: getattr(snapshot, name) for name in _SNAPSHOT_FIELDS},
                question_seqs={one: view.question_seqs[one] for one in asked},
                artifact_payload={} if snapshot.last_artifact is None else view.artifact_payload,
            )
