"""What a rule says and what an evaluation returns. Frozen data, no behaviour beyond ordering.

Verdict actions are ordered from weakest to strongest (DESIGN §3); the strongest of all findings wins, and all
findings are kept. Severity says how bad a true hit is; confidence says how likely a hit is true.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Literal

import msgspec

DecisionSource = Literal["", "detection", "rule", "default_action", "rate_limit"]
"""What decided: the content, a conditional rule, the default action of a policy, or one of its rate limits."""


class Action(IntEnum):
    """What happens to a message, weakest first. The wire and the packs use the lower-case names."""

    ALLOW = 0
    """Nothing to say; only ever a verdict, never a rule's action."""
    LOG = 1
    """Keep the finding with the call."""
    TAG = 2
    """Keep the finding and mark the call with the rule's category."""
    ALERT = 3
    """Let it pass and raise an alert."""
    REDACT = 4
    """Replace the matched span before forwarding, and raise an alert."""
    HOLD = 5
    """Wait for a person, who releases or refuses the call."""
    BLOCK = 6
    """Refuse the message and raise an alert."""

    @property
    def word(self) -> str:
        """The lower-case name, as in packs, events and the UI."""
        return self.name.lower()

    @classmethod
    def parse(cls, word: str) -> Action:
        """The action for a lower-case name; raises KeyError for an unknown one."""
        return cls[word.upper()]


class Severity(IntEnum):
    """How bad a true hit is, mildest first."""

    INFO = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4

    @property
    def word(self) -> str:
        """The lower-case name, as in packs, events and the UI."""
        return self.name.lower()

    @classmethod
    def parse(cls, word: str) -> Severity:
        """The severity for a lower-case name; raises KeyError for an unknown one."""
        return cls[word.upper()]


class Confidence(IntEnum):
    """How likely a hit is true. Only a high-confidence rule may block on its own."""

    LOW = 0
    MEDIUM = 1
    HIGH = 2

    @classmethod
    def parse(cls, word: str) -> Confidence:
        """The confidence for a lower-case name; raises KeyError for an unknown one."""
        return cls[word.upper()]


class Target(StrEnum):
    """What kind of text a message part is; a rule names the targets that it reads."""

    PROMPT = "prompt"
    SYSTEM_PROMPT = "system_prompt"
    COMPLETION = "completion"
    TOOL_NAME = "tool_name"
    TOOL_DESCRIPTION = "tool_description"
    PARAM_DESCRIPTION = "param_description"
    SCHEMA = "schema"
    SERVER_INSTRUCTIONS = "server_instructions"
    TOOL_ARGS = "tool_args"
    TOOL_RESULT = "tool_result"
    RESOURCE = "resource"
    DOCUMENT = "document"
    AGENT_MESSAGE = "agent_message"
    ELICITATION = "elicitation"
    SAMPLING = "sampling"
    ERROR = "error"

    # Every text of a message is looked up by its target, and the hash of enumerations is a Python function.
    __hash__ = str.__hash__


class Text(msgspec.Struct, frozen=True, gc=False):
    """One string leaf of a message, ready to be scanned."""

    target: Target
    path: str
    """RFC 6901 JSON pointer of the leaf inside the message."""
    text: str


class Finding(msgspec.Struct, frozen=True, gc=False):
    """One hit of one rule. Safe to store and show: the evidence is already masked."""

    rule_id: str
    pack: str
    title: str
    category: str
    severity: Severity
    confidence: Confidence
    score: int
    action: Action
    target: Target
    path: str
    start: int
    """Offset of the hit in the scanned text, in characters."""
    end: int
    view: str
    """`raw`, or the name of the derived view in which the hit was seen (`normalized`, `decoded`)."""
    evidence: str
    """At most 160 characters around the hit; a secret or personal value inside is masked."""
    value_start: int = 0
    """Offset of the captured value in the scanned text, in characters: what masking replaces. A value found in a
    derived view has the span of the raw text from which it came. Records of older versions have neither offset."""
    value_end: int = 0
    label: str = ""
    """The word for the value's type in a placeholder, as `EMAIL` (`packs.Rule.label`)."""
    reversible: bool = False
    """Whether masking may put the value back into what its sender gets to see."""
    sensitive: bool = False
    """Whether the captured value must never be shown or stored in clear."""
    made: str = ""
    """How the derived view was made, as `characters`, `tags` or `base64+rot13`; empty for the raw text."""
    declaration: str = ""
    """Digest of what a server declares, where it stands in such a declaration: it comes again with every list, and is
    news once."""


class Decision(msgspec.Struct, frozen=True, gc=False):
    """Why a verdict is what it is: stored with the call, shown to whoever asks why it was blocked."""

    source: DecisionSource = ""
    rule_id: str = ""
    """The rule that decided: a detection rule, a conditional rule of the policy, or a rate limit."""
    policy: str = ""
    policy_version: int = 0
    """0 for a shipped policy."""
    level: str = ""
    """Where the policy was assigned: `key`, `proxy` or `global`."""
    would_action: Action = Action.ALLOW
    """What had happened if nothing were set to log only."""
    threshold: int = 0
    """The sum of scores that was reached, where two or more signals decided together."""
    risk: str = "none"
    """`none`, `low`, `medium`, `high` or `critical`, from the sum of the scores."""
    tags: tuple[str, ...] = ()
    status: int = 403
    """HTTP status of the refusal, if it is one."""


NO_DECISION = Decision()


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """The outcome for one message: the strongest action, the sum of the scores and every finding.

    The findings carry the action that they have in effect, after overrides and log only: masking replaces exactly
    those whose action is `redact`.
    """

    action: Action
    score: int
    findings: tuple[Finding, ...]
    reason: str
    """One plain sentence naming what decided; empty for an allow."""
    decision: Decision = NO_DECISION


ALLOWED = Verdict(action=Action.ALLOW, score=0, findings=(), reason="")
