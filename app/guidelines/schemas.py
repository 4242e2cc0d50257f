"""What the API and the pages say about guidelines."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

MAX_CHARACTERS = 200_000
"""Of one document."""
MAX_QUESTION_CHARACTERS = 200_000


class GuidelineView(msgspec.Struct, frozen=True, kw_only=True):
    """One document without its text. `sha256` is that of the text in UTF-8."""

    id: str
    name: str
    characters: int
    passages: int
    sha256: str
    created_at: datetime
    created_by: str


class PassageView(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a guideline. `number` counts from 1 in its document."""

    guideline_id: str
    name: str
    number: int
    heading: str
    text: str


class CitedPassage(PassageView, frozen=True, kw_only=True):
    """A passage that speaks of the same things as a text: by the words in common, the rarest first."""

    score: float
    terms: list[str]


class GuidelineText(msgspec.Struct, frozen=True, kw_only=True):
    """One document with its passages."""

    guideline: GuidelineView
    passages: list[PassageView]


class AddGuideline(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A document as text or Markdown. With `replace` it takes the place of one with the same name."""

    name: Annotated[str, Meta(max_length=200)]
    content: Annotated[str, Meta(max_length=MAX_CHARACTERS)]
    replace: bool = False


class AskGuidelines(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A text of which the guidelines may speak."""

    text: Annotated[str, Meta(min_length=1, max_length=MAX_QUESTION_CHARACTERS)]
