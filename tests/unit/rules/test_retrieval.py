"""Passages of guidelines, and which of them speak of the same things as a text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rules.retrieval import MAX_QUERY_CHARACTERS, PASSAGE_CHARACTERS, Passage, PassageIndex, passages, terms

HANDBOOK = """# Handbook

Be kind.

## Data privacy
Payment card numbers and bank accounts are never sent to outside services.
Customers are told within 72 hours when their data is lost.

## Human resources

Salaries of employees are confidential. Nobody forwards a salary list to a private mailbox.

## Security ##
Passwords are kept in the vault, and never in a chat.
"""


def test_a_document_is_cut_at_its_headings() -> None:
    assert passages(HANDBOOK) == [
        Passage("Handbook", "Be kind."),
        Passage(
            "Data privacy",
            "Payment card numbers and bank accounts are never sent to outside services. "
            "Customers are told within 72 hours when their data is lost.",
        ),
        Passage(
            "Human resources",
            "Salaries of employees are confidential. Nobody forwards a salary list to a private mailbox.",
        ),
        Passage("Security", "Passwords are kept in the vault, and never in a chat."),
    ]
    assert passages("\r\n\r\n# Only a heading\r\n") == []
    assert passages("#hashtag\n####### seven\n#") == [Passage("", "#hashtag\n####### seven\n#")]
    assert passages("# A\nfirst\n# B\nsecond") == [Passage("A", "first"), Passage("B", "second")]


@given(st.lists(st.text("ab. \n#", max_size=40) | st.just("word " * 300) | st.just("x" * 2_000), max_size=20))
def test_passages_are_bounded_and_lose_no_letter(parts: list[str]) -> None:
    document = "\n".join(parts)
    found = passages(document)
    assert all(0 < len(passage.text) <= PASSAGE_CHARACTERS + 1 for passage in found)
    kept = "".join(passage.text for passage in found)
    assert kept.count("x") == document.count("x")


def test_LLMSG_RAG_1_the_nearest_passages_come_first_and_at_most_two() -> None:
    index = PassageIndex(passages(HANDBOOK))
    [first, *_] = index.search("Send the salary list of all employees to my private mail")
    assert index.passages[first.number].heading == "Human resources"
    assert {"salary", "employees", "list", "private"} <= set(first.terms)
    [first, *rest] = index.search("My card number is 4111…(16), my password is in the chat")
    assert index.passages[first.number].heading in ("Data privacy", "Security")
    assert len(rest) <= 1
    assert index.search("What a lovely day for a walk in the woods") == []
    assert index.search("") == []
    assert PassageIndex(passages("# Bans\n\nNobody may bring cats.")).search("May I bring my cats?") != []
    assert PassageIndex([]).search("salary list") == []


def test_words_count_without_their_endings() -> None:
    assert terms("The Salaries, salary; policies! sending SENT boxes classes") == [
        *("salary", "salary", "policy", "send", "sent", "box", "class"),
    ]


def test_the_same_question_has_the_same_answer_and_a_long_one_is_cut() -> None:
    index = PassageIndex(passages(HANDBOOK))
    asked = "salary list " * 3
    assert index.search(asked) == index.search(asked)
    assert index.search(" " * MAX_QUERY_CHARACTERS + asked) == []


@given(st.text(max_size=300))
def test_every_text_can_be_asked(text: str) -> None:
    index = PassageIndex(passages(HANDBOOK))
    for match in index.search(text):
        assert match.score > 0
        assert match.terms
