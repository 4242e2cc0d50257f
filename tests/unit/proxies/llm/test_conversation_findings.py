"""What conversations held is kept for its caller, as long as it counts, and for so many of them."""

from __future__ import annotations

import time

from proxies.conversation import RecentFindings
from proxies.llm import conversation_findings
from proxies.llm.conversation_findings import KeptFindings


def test_findings_are_kept_by_proxy_caller_and_id() -> None:
    kept, recent = KeptFindings(), RecentFindings()
    kept.keep(("prx", "key", "resp_1"), recent)
    assert kept.find(("prx", "key", "resp_1")) is recent
    assert kept.find(("prx", "other", "resp_1")) is None
    assert repr(kept) == "<KeptFindings 1>"


def test_findings_are_forgotten_when_they_no_longer_count() -> None:
    kept, key = KeptFindings(), ("prx", "key", "resp_1")
    kept.keep(key, RecentFindings())
    kept._kept[key] = (time.monotonic(), kept._kept[key][1])
    assert kept.find(key) is None
    assert len(kept) == 0


def test_the_oldest_conversations_go_first() -> None:
    kept = KeptFindings()
    for number in range(conversation_findings.MAX_CONVERSATIONS + 1):
        kept.keep(("prx", "key", f"resp_{number}"), RecentFindings())
    assert len(kept) == conversation_findings.MAX_CONVERSATIONS
    assert kept.find(("prx", "key", "resp_0")) is None
    assert kept.find(("prx", "key", "resp_1")) is not None
