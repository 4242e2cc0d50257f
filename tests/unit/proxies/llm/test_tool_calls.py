"""Tool calls in messages and streams of the LLM APIs."""

from __future__ import annotations

from typing import Any

import pytest

from proxies.llm import tool_calls
from proxies.llm.facts import messages_and_calls, response_tool_calls
from proxies.llm.tool_calls import CallsNotReadable, OpenCalls, calls_in
from rules.facts import ToolCall


def names(events: list[dict[str, Any]]) -> tuple[list[str], list[tuple[str, Any]]]:
    calls = OpenCalls()
    named: list[str] = []
    complete: list[tuple[str, Any]] = []
    for event in [*events, None]:
        if event is None:
            calls.close()
        else:
            calls.read(event)
        begun, ended = calls.take()
        named += [call.name for call in begun]
        complete += [(call.name, call.arguments) for call in ended]
    return named, complete


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (
            {"tool_calls": [{"function": {"name": "a", "arguments": '{"x": 1}'}}]},
            [("a", {"x": 1}, "/m/tool_calls/0/function")],
        ),
        (
            {"tool_calls": [{"custom": {"name": "a", "input": "free text"}}]},
            [("a", "free text", "/m/tool_calls/0/custom")],
        ),
        ({"function_call": {"name": "a", "arguments": "{"}}, [("a", "{", "/m/function_call")]),
        (
            {"content": [{"type": "text"}, {"type": "tool_use", "name": "b", "input": {"y": 2}}]},
            [("b", {"y": 2}, "/m/content/1")],
        ),
        ({"type": "function_call", "name": "c", "arguments": "[]"}, [("c", [], "/m")]),
        ({"parts": [{"functionCall": {"name": "d", "args": {"z": 3}}}]}, [("d", {"z": 3}, "/m/parts/0/functionCall")]),
        ({"message": {"tool_calls": [{"function": {"name": "e"}}]}}, [("e", None, "/m/message/tool_calls/0/function")]),
        (
            {"type": "tool_use", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
            [("f", {}, "/m/tool_calls/0/function")],
        ),
        (
            {"type": "local_shell_call", "id": "i", "action": {"type": "exec", "command": ["ls"]}},
            [("local_shell", {"type": "exec", "command": ["ls"]}, "/m")],
        ),
        ({"type": "web_search_call", "status": "completed"}, [("web_search", {}, "/m")]),
        ({"type": "code_interpreter_call", "code": "print(1)"}, [("code_interpreter", {"code": "print(1)"}, "/m")]),
        ({"content": "text", "tool_calls": "none"}, []),
        ("text", []),
        ({"type": "tool_use", "name": 5}, []),
    ],
)
def test_AG_PE_2_calls_of_every_shape(message: Any, found: list[tuple[str, Any, str]]) -> None:
    assert [(call.name, call.arguments, call.path) for call in calls_in(message, "/m")] == found


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize(
    ("place", "ids"),
    [({}, True), ({}, False), ({"index": None}, True), ({"index": None}, False), ({"index": 0}, True)],
)
def test_AG_PE_2_calls_that_share_an_index_or_have_none_are_judged_apart(
    together: bool, place: dict[str, Any], ids: bool
) -> None:
    """Joined, their arguments are no JSON, so that no condition on a member of them would hold."""
    arguments = ['{"path": "/etc/shadow"}', '{"path": "/tmp"}']
    calls = [
        {**place, **({"id": f"call_{n}"} if ids else {}), "function": {"name": f"f{n}", "arguments": one}}
        for n, one in enumerate(arguments)
    ]
    chunks = [calls] if together else [[call] for call in calls]
    events = [{"choices": [{"index": 0, "delta": {"tool_calls": chunk}}]} for chunk in chunks]

    named, complete = names([*events, {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}])

    assert named == ["f0", "f1"]
    assert complete == [("f0", {"path": "/etc/shadow"}), ("f1", {"path": "/tmp"})]


def test_AG_PE_2_pieces_of_one_call_may_each_have_an_id_of_their_own() -> None:
    pieces = [{"name": "read", "arguments": '{"path":'}, {"arguments": ' "/etc/shadow"}'}]
    deltas = [{"tool_calls": [{"index": 0, "id": f"id_{n}", "function": one}]} for n, one in enumerate(pieces)]

    _, complete = names([{"choices": [{"index": 0, "delta": delta}]} for delta in deltas])

    assert complete == [("read", {"path": "/etc/shadow"})]


DEEP = '{"path": "/etc/shadow", "x": ' + "[" * 200 + "]" * 200 + "}"


@pytest.mark.parametrize(
    ("arguments", "paths"),
    [
        ('{"path": "/tmp/x", "path": "/etc/shadow"}', ["/etc/shadow", "/tmp/x"]),
        ('{"path": "/etc/shadow", "Text": "x", "ID": 1}', ["/etc/shadow"]),
        ('{"path": "/etc/shadow", "n": 1e400, "m": NaN}', ["/etc/shadow"]),
        ('{"path": "/etc/shadow", "x": "a\nb"}', ["/etc/shadow"]),
        ('{"path": "/etc/shadow", "x": "\\ud800"}', ["/etc/shadow"]),
        ('\ufeff {"path": "/etc/shadow"}', ["/etc/shadow"]),
        (DEEP, ["/etc/shadow"]),
    ],
    ids=["repeated", "other spellings", "numbers", "line end", "surrogate", "byte order mark", "deep"],
)
def test_AG_PE_2_arguments_are_judged_as_any_client_may_read_them(arguments: str, paths: list[str]) -> None:
    """A client reads what strict JSON refuses: a repeated key, a number without end, the name of a member of its own."""
    whole = [call.arguments for call in calls_in({"function_call": {"name": "a", "arguments": arguments}}, "")]
    assert [one["path"] for one in whole] == paths

    delta = {"tool_calls": [{"index": 0, "function": {"name": "a", "arguments": arguments}}]}
    _, streamed = names([{"choices": [{"index": 0, "delta": delta, "finish_reason": "tool_calls"}]}])
    assert [one["path"] for _, one in streamed] == paths


def test_AG_PE_2_what_is_no_json_stays_text() -> None:
    for text in ("free text", "{", '{"path": "/etc/shadow"', "[" * 100_000):
        call = {"custom": {"name": "a", "input": text}}
        assert [one.arguments for one in calls_in({"tool_calls": [call]}, "")] == [text]


def test_calls_of_a_whole_answer() -> None:
    assert response_tool_calls({"output": [{"type": "function_call", "name": "a", "arguments": "{}"}]}) == [
        ToolCall("a", {}, "/output/0")
    ]
    candidate = {"content": {"parts": [{"functionCall": {"name": "g", "args": {}}}]}}
    assert [call.name for call in response_tool_calls({"candidates": [candidate]})] == ["g"]
    assert response_tool_calls([]) == []


def test_AG_PE_7_messages_and_roles_of_every_api() -> None:
    items = [
        {"role": "developer", "content": "x"},
        {"type": "function_call", "name": "t", "arguments": "{}"},
        {"type": "function_call_output", "output": "x"},
        {"type": "reasoning"},
        "text",
    ]
    messages, calls = messages_and_calls({"instructions": "i", "input": items})
    assert [(message.role, message.counts) for message in messages] == [
        ("system", False),
        ("developer", True),
        ("assistant", True),
        ("tool", True),
        ("assistant", True),
        ("user", True),
    ]
    assert [call.path for call in calls] == ["/input/1"]
    assert [message.path for message in messages_and_calls({"input": "one"})[0]] == ["/input"]
    messages, calls = messages_and_calls({"contents": {"role": "user", "parts": [{"functionCall": {"name": "g"}}]}})
    assert ([(message.role, message.path) for message in messages], [call.name for call in calls]) == (
        [("user", "/contents")],
        ["g"],
    )
    assert [message.role for message in messages_and_calls({"contents": [{"role": "model"}, {"role": "user"}]})[0]] == [
        "assistant",
        "user",
    ]


RESULT = {"type": "tool_result", "tool_use_id": "t", "content": "found"}
RESPONSE = {"functionResponse": {"name": "t", "response": {"r": "found"}}}


@pytest.mark.parametrize(
    ("body", "roles"),
    [
        ({"messages": [{"role": "tool", "content": "found"}]}, ["tool"]),
        ({"messages": [{"role": "function", "content": "found"}]}, ["tool"]),
        ({"input": [{"type": "function_call_output", "output": "found"}]}, ["tool"]),
        ({"messages": [{"role": "user", "content": [RESULT]}]}, ["tool"]),
        ({"messages": [{"role": "user", "content": [RESULT, RESULT]}]}, ["tool", "tool"]),
        ({"messages": [{"role": "user", "content": [RESULT, {"type": "text", "text": "and?"}]}]}, ["user", "tool"]),
        ({"contents": [{"role": "user", "parts": [RESPONSE]}]}, ["tool"]),
        ({"messages": [{"role": "user", "content": [{"toolResult": {"content": [{"text": "found"}]}}]}]}, ["tool"]),
        ({"contents": [{"role": "user", "parts": [{"text": "and?"}, RESPONSE]}]}, ["user", "tool"]),
        ({"contents": [{"role": "function", "parts": [RESPONSE]}]}, ["tool"]),
    ],
)
def test_AG_PE_7_a_result_of_a_tool_has_the_role_of_a_tool_in_every_api(body: Any, roles: list[str]) -> None:
    messages, _ = messages_and_calls(body)
    assert [message.role for message in messages] == roles
    assert sum(message.counts for message in messages) == 1, "message_count counts the items of the list"


def chat(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def test_a_chat_stream_names_a_call_first_and_completes_it_with_its_choice() -> None:
    events = [
        chat({"tool_calls": [{"index": 0, "function": {"name": "a", "arguments": ""}}]}),
        chat({"tool_calls": [{"index": 1, "function": {"name": "b", "arguments": "{}"}}]}),
        chat({"tool_calls": [{"index": 0, "function": {"arguments": '{"x":'}}]}),
        chat({"tool_calls": [{"index": 0, "function": {"arguments": " 1}"}}]}),
        chat({}, "tool_calls"),
    ]
    assert names(events) == (["a", "b"], [("a", {"x": 1}), ("b", {})])
    assert names(events[:4]) == (["a", "b"], [("a", {"x": 1}), ("b", {})]), "the end of the stream completes them too"


def test_a_name_in_pieces_is_judged_whole() -> None:
    events = [
        chat({"tool_calls": [{"index": 0, "function": {"name": "shell"}}]}),
        chat({"tool_calls": [{"index": 0, "function": {"name": "_exec"}}]}),
    ]
    assert names(events) == (["shell", "shell_exec", "_exec"], [("shell_exec", {}), ("_exec", {})])


def test_an_anthropic_stream_completes_a_call_with_its_block() -> None:
    start = {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "name": "a", "input": {}}}
    delta = {
        "type": "content_block_delta",
        "index": 1,
        "delta": {"type": "input_json_delta", "partial_json": '{"x": 1}'},
    }
    assert names([start, delta, {"type": "content_block_stop", "index": 1}]) == (["a"], [("a", {"x": 1})])
    whole = {**start, "content_block": {"type": "tool_use", "name": "a", "input": {"y": 2}}}
    assert ("a", {"y": 2}) in names([whole])[1]


def test_a_responses_stream_gives_calls_with_their_items() -> None:
    item = {"type": "function_call", "name": "a", "arguments": ""}
    done = {**item, "arguments": '{"x": 1}'}
    events = [
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.output_item.done", "output_index": 0, "item": done},
        {"type": "response.completed", "response": {"output": [done]}},
    ]
    named, complete = names(events)
    assert named == ["a"]
    assert complete == [("a", {"x": 1})] * 2


def test_a_gemini_stream_gives_whole_calls() -> None:
    candidate = {"content": {"parts": [{"functionCall": {"name": "g", "args": {"q": 1}}}]}}
    assert names([{"candidates": [candidate]}]) == ([], [("g", {"q": 1})])


def test_open_calls_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool_calls, "MAX_OPEN_CALLS", 2)
    monkeypatch.setattr(tool_calls, "MAX_ARGUMENTS_CHARACTERS", 10)
    calls = OpenCalls()
    for index in range(2):
        calls.read(chat({"tool_calls": [{"index": index, "function": {"name": "a"}}]}))
    with pytest.raises(CallsNotReadable):
        calls.read(chat({"tool_calls": [{"index": 2, "function": {"name": "a"}}]}))
    with pytest.raises(CallsNotReadable):
        calls.read(chat({"tool_calls": [{"index": 0, "function": {"arguments": "x" * 11}}]}))


def test_strange_events_are_no_calls() -> None:
    strange: list[dict[str, Any]] = [
        {"choices": ["x", {"delta": {"tool_calls": ["x", {"function": "y"}]}}]},
        {"type": "content_block_start", "content_block": "x"},
        {"type": "content_block_start", "content_block": {"type": "tool_use", "name": None}},
        {"type": "content_block_stop", "index": 7},
        {},
    ]
    assert names(strange) == ([], [])
