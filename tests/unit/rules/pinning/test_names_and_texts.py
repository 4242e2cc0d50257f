"""Names that can be taken for each other, hidden characters, capabilities."""

from __future__ import annotations

import pytest

from rules.pinning.capabilities import Capability, capabilities_of
from rules.pinning.names import clash_kind, is_one_edit_apart
from rules.pinning.visible import hidden_characters, similarity, tokens, visible


@pytest.mark.parametrize(
    ("name", "other", "kind"),
    [
        ("read_file", "read_file", "same"),
        ("readFile", "READ-FILE", "spelling"),
        ("read_file", "rеad_file", "look_alike"),
        ("read_file", "read_\u200bfile", "look_alike"),
        ("ｒead", "read", "look_alike"),
        ("login", "1ogin", "look_alike"),
        ("read_file", "read_f1le", "look_alike"),
        ("list", "Iist", "look_alike"),
        ("get_mail", "get_mall", None),
        ("modern", "modem", "look_alike"),
        ("read", "write", None),
    ],
)
def test_T_05_names_that_can_be_taken_for_each_other(name: str, other: str, kind: str | None) -> None:
    assert clash_kind(name, other) == kind


@pytest.mark.parametrize(
    ("name", "other", "near"),
    [
        ("github", "githubb", True),
        ("github", "gthub", True),
        ("github", "gitbub", True),
        ("github", "gihtub", True),
        ("github", "github", False),
        ("github", "gitlab", False),
        ("a", "abc", False),
    ],
)
def test_T_05_one_edit_apart(name: str, other: str, near: bool) -> None:
    assert is_one_edit_apart(name, other) is near
    assert is_one_edit_apart(other, name) is near


def test_SYP_RUG_2_hidden_characters_are_shown() -> None:
    assert visible("a\u200bb\u202ec\n") == "a⟨U+200B⟩b⟨U+202E⟩c\n"
    assert visible("x\U000e0068\U000e0069") == "x⟨tags: hi⟩"
    assert visible("a" * 30, 10) == "aaaaaaaaaa… (30 characters)"
    assert visible("\x1b[2J\x07") == "⟨U+001B⟩[2J⟨U+0007⟩"
    assert hidden_characters("plain text, größer 中文") == []
    assert hidden_characters("👩\u200d💻 ❤\ufe0f") == []
    assert hidden_characters("go\ufe0f\u3164") == ["\ufe0f", "\u3164"]


def test_SYP_RUG_3_similarity_counts_words() -> None:
    assert similarity("Reads a file", "reads A FILE") == 1.0
    assert similarity("", "") == 1.0
    assert similarity("one two", "three four") == 0.0
    assert similarity("a b c", "a b d") == 0.5
    assert len(tokens(" ".join(map(str, range(30_000))))) == 20_000


@pytest.mark.parametrize(
    ("tool", "expected"),
    [
        ({"name": "execute_command"}, {Capability.EXECUTE}),
        ({"name": "deleteNote"}, {Capability.DELETE}),
        ({"name": "x", "description": "Writes text to a file."}, {Capability.WRITE_FILES}),
        ({"name": "read_file"}, {Capability.READ_FILES}),
        ({"name": "send_email"}, {Capability.SEND}),
        ({"name": "fetch_url"}, {Capability.NETWORK, Capability.FOREIGN_CONTENT}),
        ({"name": "x", "inputSchema": {"properties": {"webhookUrl": {}, "sql": {}}}}, {"network", "send", "database"}),
        ({"name": "x", "inputSchema": {"properties": {"api_key": {}, "cmd": {}}}}, {"credentials", "execute"}),
        ({"name": "refund", "description": "Refund a payment."}, {Capability.PAYMENT}),
        ({"name": "list_issues"}, {Capability.FOREIGN_CONTENT}),
        ({"name": "search_contacts"}, {Capability.PERSONAL_DATA}),
        ({"name": "add", "description": "Adds two numbers. It does not delete anything."}, set()),
        ({"name": 5, "description": None, "inputSchema": [1]}, set()),
    ],
)
def test_SYP_SCAN_2_capability_classes(tool: dict[str, object], expected: set[str]) -> None:
    assert set(capabilities_of(tool)) == expected
