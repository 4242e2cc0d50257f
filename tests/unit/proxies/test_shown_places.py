"""Names of members that are values to hide are in no place that is shown."""

from __future__ import annotations

from proxies.shown_places import hidden_names, shown_place
from tests.support.records import finding


def test_names_that_are_values_are_hidden_wherever_they_stand() -> None:
    found = [
        finding(path="/a/zoe@example.com#", sensitive=True),
        finding(path="/a/zoe@example.com/x~1y#", sensitive=True),
        finding(path="/a/plain#"),
        finding(path="/a/zoe@example.com", sensitive=True),
    ]
    hidden = hidden_names(found)
    assert hidden == {"zoe@example.com": "[masked-1]", "x~1y": "[masked-2]"}
    assert shown_place("/b/zoe@example.com/0/x~1y#", hidden) == "/b/[masked-1]/0/[masked-2]#"
    assert shown_place("/b/plain#", hidden) == "/b/plain#"
    assert shown_place("/b/#", hidden_names([])) == "/b/#"
