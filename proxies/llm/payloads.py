"""Files inside a request: base64 members and `data:` URLs. What is text in them reaches the model as text and is read.

Images, sound and other files cannot be read by rules and are left out. A string that only begins like a `data:` URL is a
text like any other.
"""

from __future__ import annotations

import re
from typing import Any, Final

from proxies.base64_texts import base64_text
from proxies.json_texts import BASE64_SUFFIX, DATA_URL_SUFFIX, is_name, key_pointer, leaves, pointer
from rules.model import Target, Text

DATA_URL: Final = re.compile(
    r"data:(?:[a-z]{1,20}/[\w.+-]{1,80})?(?:;[a-z]{1,20}=[\w.+-]{1,40}){0,2};base64,", re.ASCII | re.IGNORECASE
)
"""With a media type and nothing else that could be words, since its head is not read."""
_SEALED: Final = frozenset({"signature", "encrypted_content"})


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
    elif type(value) is str and DATA_URL.match(value):
        file_text(value, path, texts)
    else:
        leaves(value, target, path, texts)


def file_text(encoded: str, path: str, texts: list[Text]) -> None:
    """Append the text of a file that stands here in base64 or in a `data:` URL, if it is one; what is neither is a text."""
    url = DATA_URL.match(encoded)
    text = base64_text(encoded[url.end() :] if url else encoded)
    if text is None:
        leaves(encoded, Target.DOCUMENT, path, texts)
    else:
        leaves(text, Target.DOCUMENT, path + (DATA_URL_SUFFIX if url else BASE64_SUFFIX), texts)
