"""Changing texts where they stand."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from proxies.json_edit import EditImpossible, edit_texts


def test_texts_are_changed_in_members_elements_keys_strings_of_json_and_base64() -> None:
    value: dict[str, Any] = {
        "a": ["x", {"b/c~d": "y"}],
        "odd key": 1,
        "arguments": '{"n": 1, "to": "z"}',
        "blob": base64.b64encode(b"w").decode(),
        "number": 4111111111111111,
    }

    edit_texts(
        value,
        {
            "/number": "N",
            "/a/0": "X",
            "/a/1/b~1c~0d": "Y",
            "/odd key#": "even",
            "/arguments/to": 'Z"',
            "/blob;base64": "W",
        },
    )

    assert list(value) == ["a", "even", "arguments", "blob", "number"]
    assert value["number"] == "N"
    assert value["a"] == ["X", {"b/c~d": "Y"}]
    assert json.loads(value["arguments"]) == {"n": 1, "to": 'Z"'}
    assert base64.b64decode(value["blob"]) == b"W"


@pytest.mark.parametrize(
    "edits",
    [
        {"/missing": "x"},
        {"/list/9": "x"},
        {"/list/a": "x"},
        {"/yes": "x"},
        {"/fraction": "x"},
        {"/number/deep": "x"},
        {"/text/deep": "x"},
        {"/key#": "text"},
        {"/list": "x", "/list/0": "y"},
    ],
)
def test_what_cannot_be_changed_is_not_passed_over(edits: dict[str, str]) -> None:
    with pytest.raises(EditImpossible):
        edit_texts({"list": ["a"], "number": 1, "yes": True, "fraction": 1.5, "text": "plain", "key": 2}, edits)
