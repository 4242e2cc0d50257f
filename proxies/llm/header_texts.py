"""What goes to a provider and stands outside of the body: fields that are passed on, and the model in the path."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from proxies.llm.unread_texts import is_plain
from proxies.shown_places import MODEL_PATH
from proxies.transport.headers import Headers
from rules.model import Target, Text

HEADERS_PATH: Final = "/headers/"
_ADDRESS_OR_NUMBER: Final = re.compile(r"@|(?:[0-9][ -]?){9}")
_LONG_WORD: Final = re.compile(r"[A-Za-z0-9+_=]{16,}")
_DIGIT: Final = re.compile("[0-9]")
_NO_VALUE: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}|(?:org-|proj_)[A-Za-z0-9]{1,64}")
"""`traceparent` as W3C defines it, and names of organizations and projects."""


def header_texts(headers: Headers, passed_on: frozenset[str], model: str, texts: list[Text]) -> None:
    """Append what could hold a value of the fields with these names, and of a model that the path names."""
    for name, value in headers.items():
        if name in passed_on and _is_text(value):
            texts.append(Text(Target.PROMPT, HEADERS_PATH + name, value))
    if model and not is_plain(model):
        texts.append(Text(Target.PROMPT, MODEL_PATH, model))


@lru_cache(maxsize=512)
def _is_text(value: str) -> bool:
    """Whether an address, a number or a credential may stand here; names of programs and betas are none."""
    if _NO_VALUE.fullmatch(value) is not None:
        return False
    return _ADDRESS_OR_NUMBER.search(value) is not None or any(
        _DIGIT.search(word) is not None for word in _LONG_WORD.findall(value)
    )
