"""Names of members that are values to hide are in no place that is shown."""

from __future__ import annotations

from urllib.parse import unquote

import pytest

from proxies.shown_places import MODEL_PATH, hidden_names, shown_model, shown_place
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


@pytest.mark.parametrize(
    "written",
    ["jürgen@example.com", "j%C3%BCrgen%40example.com", "j%c3%bcrgen%40example.com", "j%c3%bcr%67en@exampl%65.com"],
)
def test_a_value_in_the_name_of_a_model_is_hidden_however_the_path_writes_it(written: str) -> None:
    value = "jürgen@example.com"
    found = [finding(path=MODEL_PATH, sensitive=True, value_start=3, value_end=3 + len(value))]
    model, path = shown_model(f"to-{value}", f"/v1beta/models/to-{written}:generateContent", found)
    assert "rgen" not in unquote(model + path)
    assert path.startswith("/v1beta/models/to-")
    assert path.endswith(":generateContent")
    assert shown_model("gpt", "/a%20b", found[:0]) == ("gpt", "/a%20b")
