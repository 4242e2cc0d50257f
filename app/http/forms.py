"""From the fields of an HTML form to the same structs that the API takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from app.errors import ValidationFailed

T = TypeVar("T")

_FIELD = re.compile(r"`\$\.?([A-Za-z0-9_.]*)[^`]*`$")


def convert(values: Mapping[str, Any], kind: type[T]) -> T:
    """`values` as `kind`; numbers may be text. Raises ValidationFailed naming the field."""
    try:
        return msgspec.convert(dict(values), kind, strict=False)
    except msgspec.ValidationError as error:
        message = str(error)
        found = _FIELD.search(message)
        field = found[1] if found and found[1] else "form"
        words = message.partition(" - at ")[0].rstrip(".")
        raise ValidationFailed(fields={field: f"{words}."}) from error


def lines(text: str) -> list[str]:
    """The entries of a text field, one a line or separated by commas."""
    return [entry.strip() for entry in re.split(r"[\n,]", text) if entry.strip()]
