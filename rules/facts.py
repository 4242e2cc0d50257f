"""What a call is, apart from what it says: the things that the conditions of a policy ask about.

The protocols build the facts of a call; conditions only read them. Facts are made only where a policy asks for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from rules.derived_view import DerivedView
from rules.model import Text
from rules.normalize import may_normalize, normalized

MESSAGE_COUNT = "message_count"
ROLE_COUNT = "role_count"
TOKEN_ESTIMATE = "token_estimate"  # noqa: S105 - It counts them.
ARGUMENTS = "tool_arguments"
TOOLS = "tool_name"
TEXTS = "message_content"
"""Facts that may be unknown of a recorded call, by the word of the condition that asks about them."""
HEADER_PREFIX = "header "
BYTES_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 3


class ToolCall(msgspec.Struct, frozen=True):
    """A tool that is called, or that a model asks to be called."""

    name: str
    arguments: Any = None
    """The arguments as JSON values; a string where they are not JSON."""
    path: str = ""
    """JSON pointer of the call inside its message."""


class Message(msgspec.Struct, frozen=True):
    """One message of a request."""

    role: str
    path: str
    """JSON pointer of the message; its texts lie below."""
    counts: bool = True
    """Whether `message_count` counts it: a system prompt beside the messages does not."""


class Counted(msgspec.Struct, frozen=True):
    """What was counted when a call came, of which not everything is known any more."""

    message_count: int
    role_counts: Mapping[str, int]
    token_estimate: int


class Facts(msgspec.Struct, frozen=True):
    """One call as conditions see it."""

    phase: Literal["request", "named", "response"] = "request"
    """`named`: a model has begun to ask for the tools of `tool_calls`, whose arguments are not known yet."""
    kind: Literal["llm", "mcp", "a2a"] = "llm"
    acts: bool = True
    """Whether the call does something. Handshakes, lists and notifications do not: the default action spares them."""
    model: str = ""
    method: str = ""
    """JSON-RPC method."""
    messages: tuple[Message, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    texts: Sequence[Text] = ()
    disguised: Mapping[int, Sequence[DerivedView]] = {}
    """By index of a text what normalisation makes of it, where that is something else; see `with_views`."""
    client_id: str = ""
    client_name: str = ""
    ip: str = ""
    headers: Mapping[str, str] = {}
    """By lower-case name; those that a policy asks for."""
    now: datetime | None = None
    """With a time zone."""
    counted: Counted | None = None
    """For a recorded call."""
    unknown: frozenset[str] = frozenset()
    """What is not known of a recorded call; headers as `header x-team`."""

    @property
    def message_count(self) -> int:
        """How many messages the request has."""
        if self.counted is not None:
            return self.counted.message_count
        return sum(message.counts for message in self.messages)

    def role_count(self, role: str) -> int:
        """How many messages of this role it has."""
        if self.counted is not None:
            return self.counted.role_counts.get(role, 0)
        return sum(message.role == role for message in self.messages)

    @property
    def token_estimate(self) -> int:
        """About how many tokens the texts are: a quarter of their UTF-8 bytes and three for every message.

        Good to a fifth for English prose and code; no tokenizer is asked, since every model has its own.
        """
        if self.counted is not None:
            return self.counted.token_estimate
        size = sum(
            len(text.text) if text.text.isascii() else len(text.text.encode("utf-8", "replace")) for text in self.texts
        )
        return -(-size // BYTES_PER_TOKEN) + TOKENS_PER_MESSAGE * len(self.messages)


def with_views(facts: Facts) -> Facts:
    """The facts of a request with the normalised views of its texts, for conditions that look into these."""
    if facts.phase != "request" or facts.disguised:
        return facts
    made: dict[int, Sequence[DerivedView]] = {}
    for index, text in enumerate(facts.texts):
        if not text.text.isascii():
            data = text.text.encode("utf-8", "replace")
            if may_normalize(data) and (views := normalized(text.text, data)):
                made[index] = views
    return msgspec.structs.replace(facts, disguised=made) if made else facts
