"""Whether the provider transcribes what it hears: by what it says, and by what it has been asked since it said so (LLM-RT-2).

A session that is asked to stop transcribing counts as one that does not, from then on and not from the provider's word on: the
audio that follows is heard after that request.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

MAX_UNANSWERED: Final = 200
"""Updates of a session that the provider has not answered; after more of them nobody knows any more."""
UPDATE: Final = "session.update"
_UPDATED: Final = "session.updated"


class Transcription:
    """What is known of one session."""

    def __init__(self) -> None:
        self._is_on = False
        """What the provider said last."""
        self._asked: OrderedDict[str, bool] = OrderedDict()
        """By name the updates that the provider has not answered, and whether each has it stop."""
        self._is_unknown = False

    @property
    def is_on(self) -> bool:
        """Whether audio that is sent now will be transcribed."""
        return self._is_on and not self._is_unknown and not any(self._asked.values())

    def ask(self, name: str, event: dict[str, Any]) -> None:
        """An update goes to the provider under this name."""
        self._asked[name] = stops_transcribing(event)
        if len(self._asked) > MAX_UNANSWERED:
            self._is_unknown = True
            self._asked.clear()

    def refused(self, name: str) -> None:
        """The provider sent an error about the event of this name."""
        self._asked.pop(name, None)

    def heard(self, kind: str, session: Any) -> None:
        """The provider said how its session is set; it answers updates in their order."""
        self._is_on = transcribes(session)
        if kind == _UPDATED and self._asked:
            self._asked.popitem(last=False)


def transcribes(session: Any) -> bool:
    """Whether the settings of a session have what is heard transcribed, in the form of today or of the beta."""
    if type(session) is not dict:
        return False
    audio = session.get("audio")
    heard = audio.get("input") if type(audio) is dict else None
    return bool(
        (heard.get("transcription") if type(heard) is dict else None) or session.get("input_audio_transcription")
    )


def stops_transcribing(event: dict[str, Any]) -> bool:
    """Whether an update takes the transcription away. What it does not name stays as it is."""
    session = event.get("session")
    if type(session) is not dict:
        return False
    audio = session.get("audio", {})
    heard = audio.get("input", {}) if type(audio) is dict else None
    if type(heard) is not dict:
        return True
    named = [heard["transcription"]] if "transcription" in heard else []
    named += [session["input_audio_transcription"]] if "input_audio_transcription" in session else []
    return any(not setting for setting in named)
