"""Files inside a request: base64 members and `data:` URLs. What is text in them reaches the model as text and is read.

Images, sound and other files that are no UTF-8 cannot be read by rules and are left out. A string that only begins like
a `data:` URL is a text like any other.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from typing import Any, Final

from proxies.json_texts import BASE64_SUFFIX, DATA_URL_SUFFIX, is_name, key_pointer, leaves, pointer
from rules.model import Target, Text

_DATA_URL: Final = re.compile(r"data:[^,\s]{0,200};base64,", re.ASCII | re.IGNORECASE)
_FIRST_CHARACTERS: Final = 512
"""Of base64, a multiple of four: enough to see that a large file is no text without decoding all of it."""
_SLICE_CHARACTERS: Final = 1024 * 1024
"""Decoded at a time, a multiple of four: the interpreter's lock is held for as long."""
_SPACES: Final = "\n\r\t\f\v"
_SEALED: Final = frozenset({"signature", "encrypted_content"})
_URL_ALPHABET: Final = str.maketrans("-_", "+/")


def payload_texts(value: Any, target: Target, path: str, texts: list[Text]) -> None:
    """All strings below a part of a message, files in base64 and in `data:` URLs as what they hold."""
    if type(value) is dict:
        in_base64 = value.get("type") == "base64" or "format" in value or "media_type" in value
        is_text = value.get("type") == "text"
        for key, member in value.items():
            below = pointer(path, key)
            if not is_name(key):
                texts.append(Text(target, key_pointer(path, key), key))
            if key in _SEALED:
                continue
            if type(member) is str and (key == "file_data" or (key == "data" and in_base64 and not is_text)):
                file_text(member, below, texts)
            else:
                payload_texts(member, target, below, texts)
    elif type(value) is list:
        for index, member in enumerate(value):
            payload_texts(member, target, f"{path}/{index}", texts)
    elif type(value) is str and _DATA_URL.match(value):
        file_text(value, path, texts)
    else:
        leaves(value, target, path, texts)


def file_text(encoded: str, path: str, texts: list[Text]) -> None:
    """Append the text of a file that stands here in base64 or in a `data:` URL, if it is one; what is neither is a text."""
    url = _DATA_URL.match(encoded)
    text = base64_text(encoded[url.end() :] if url else encoded)
    if text is None:
        leaves(encoded, Target.DOCUMENT, path, texts)
    else:
        leaves(text, Target.DOCUMENT, path + (DATA_URL_SUFFIX if url else BASE64_SUFFIX), texts)


def base64_text(encoded: str) -> str | None:
    """The text that stands here in base64, in either alphabet and with line ends; nothing for other files.

    None where it is no base64; words with spaces between them are none.
    """
    if " " in encoded:
        return None
    try:
        if len(encoded) > _FIRST_CHARACTERS:
            first = base64.b64decode(_joined(encoded[:_FIRST_CHARACTERS])[: _FIRST_CHARACTERS // 2], validate=True)
            codecs.getincrementaldecoder("utf-8")().decode(first)
        joined = _joined(encoded)
        pieces = [
            base64.b64decode(joined[start : start + _SLICE_CHARACTERS], validate=True)
            for start in range(0, len(joined), _SLICE_CHARACTERS)
        ]
        return b"".join(pieces).decode()
    except UnicodeDecodeError:
        return ""
    except (binascii.Error, ValueError):
        return None


def _joined(encoded: str) -> str:
    """Base64 in the usual alphabet, in one piece and with its padding."""
    if any(space in encoded for space in _SPACES):
        encoded = "".join(encoded.split())
    if "-" in encoded or "_" in encoded:
        encoded = encoded.translate(_URL_ALPHABET)
    joined = encoded.rstrip("=")
    return joined + "=" * (-len(joined) % 4)
