"""Personal data and other values to mask in what a caller defines: tools, their parameters, the form of an answer.

Rules for prompts do not read definitions, where their words are examples and names. A value is a value everywhere: the
provider that gets the request reads it. So what masks in a prompt, and personal data whatever becomes of it, is looked for
in the definitions of a request as well. What an MCP server defines comes in answers and is pinned. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import Final

from msgspec.structs import replace

from rules.model import Action, Confidence, Finding, Target, Text

DEFINITIONS: Final = frozenset({Target.TOOL_DESCRIPTION, Target.PARAM_DESCRIPTION, Target.SCHEMA})
_PLAIN_NAME: Final = re.compile(r"[A-Za-z]{0,16}[0-9]{0,3}(?:[-_./:][A-Za-z]{0,16}[0-9]{0,3}){0,12}")
_PERSONAL: Final = "pii/"
_VALUES: Final = (_PERSONAL, "secrets/")
Scan = Callable[[Sequence[Text]], list[Finding]]
Masks = Callable[[str, str, str, Action], bool]
"""Whether the policies mask what a rule finds: its pack, its id, its category and its own action."""


def is_about_values(pack: str, rule_id: str, category: str, action: Action, masks: Masks) -> bool:
    """Whether a rule looks for values, wherever in a request they stand."""
    return action is Action.REDACT or category.startswith(_PERSONAL) or masks(pack, rule_id, category, action)


def _may_hold_value(text: Text) -> bool:
    """Whether a name of a tool is more than a name."""
    return text.target is Target.TOOL_NAME and _PLAIN_NAME.fullmatch(text.text) is None


def in_definitions(texts: Sequence[Text], scan: Scan, masks: Masks, known: Collection[Finding]) -> list[Finding]:
    """The values in the definitions among the texts of a request that are not yet `known`; `scan` searches a prompt."""
    targets = {text.path: text.target for text in texts if text.target in DEFINITIONS or _may_hold_value(text)}
    if not targets:
        return []
    found = scan(
        [
            Text(Target.PROMPT, text.path, text.text)
            for text in texts
            if text.path in targets and text.target is targets[text.path]
        ]
    )
    if not found:
        return []
    seen = {(finding.rule_id, finding.path, finding.start) for finding in known}
    return [
        replace(finding, target=targets[finding.path])
        for finding in found
        if _counts(finding, targets[finding.path], masks) and (finding.rule_id, finding.path, finding.start) not in seen
    ]


def _counts(finding: Finding, target: Target, masks: Masks) -> bool:
    """Whether a rule for prompts says something of a definition as well. A name cannot be changed, so a call with one is
    refused, and only for what is certain."""
    if target is Target.TOOL_NAME:
        return finding.confidence is Confidence.HIGH and finding.category.startswith(_VALUES)
    return is_about_values(finding.pack, finding.rule_id, finding.category, finding.action, masks)
