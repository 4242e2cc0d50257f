"""Where content crosses (I-01..I-25): every string gets its target and its pointer, and none is left out."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxies.mcp.eras import META_VERSION
from proxies.mcp.messages import Message
from proxies.mcp.texts import answer_texts, error_texts, request_texts, result_texts, server_message_texts
from proxies.transport.headers import Headers
from rules.model import Target, Text

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


def strings(value: Any) -> set[str]:
    """Every non-empty string value below `value`."""
    if type(value) is str:
        return {value} - {""}
    children = value.values() if type(value) is dict else value if type(value) is list else ()
    return {found for child in children for found in strings(child)}


def found(texts: list[Text]) -> dict[str, tuple[Target, str]]:
    return {text.path: (text.target, text.text) for text in texts}


def request(method: str, **params: Any) -> Message:
    return Message(kind="request", id=1, method=method, params=params)


def test_I_01_and_I_02_server_descriptions_are_instructions() -> None:
    for method in ("initialize", "server/discover"):
        texts = found(result_texts(method, {"instructions": "obey", "serverInfo": {"name": "n", "title": "t"}}))
        assert texts == {
            "/result/instructions": (Target.SERVER_INSTRUCTIONS, "obey"),
            "/result/serverInfo/name": (Target.SERVER_INSTRUCTIONS, "n"),
            "/result/serverInfo/title": (Target.SERVER_INSTRUCTIONS, "t"),
        }


def test_I_03_the_whole_tool_object_is_read() -> None:
    tool = {
        "name": "add",
        "title": "Adder",
        "description": "adds",
        "annotations": {"title": "hint"},
        "icons": [{"src": "data:x"}],
        "execution": {"taskSupport": "optional"},
        "_meta": {"vendor/key": "meta"},
        "unknown": {"deep": ["leaf"]},
        "inputSchema": {
            "$comment": "comment",
            "properties": {
                "ignore_previous": {
                    "description": "param",
                    "title": "param title",
                    "enum": ["one"],
                    "default": "two",
                    "examples": ["three"],
                    "x-mcp-header": "Region",
                }
            },
            "$defs": {"part": {"const": "four"}},
        },
        "outputSchema": {"description": "out"},
    }
    texts = found(result_texts("tools/list", {"tools": [tool], "nextCursor": "next"}))
    base = "/result/tools/0"
    schema = f"{base}/inputSchema"
    prop = f"{schema}/properties/ignore_previous"
    assert texts[f"{base}/name"] == (Target.TOOL_NAME, "add")
    assert texts[f"{base}/title"] == (Target.TOOL_DESCRIPTION, "Adder")
    assert texts[f"{base}/description"] == (Target.TOOL_DESCRIPTION, "adds")
    assert texts[f"{base}/annotations/title"] == (Target.TOOL_DESCRIPTION, "hint")
    assert texts[f"{base}/_meta/vendor~1key"] == (Target.TOOL_DESCRIPTION, "meta")
    assert texts[f"{base}/icons/0/src"] == (Target.SCHEMA, "data:x")
    assert texts[f"{base}/execution/taskSupport"] == (Target.SCHEMA, "optional")
    assert texts[f"{base}/unknown/deep/0"] == (Target.SCHEMA, "leaf")
    assert texts[f"{schema}/$comment"] == (Target.PARAM_DESCRIPTION, "comment")
    assert texts[f"{prop}/description"] == (Target.PARAM_DESCRIPTION, "param")
    assert texts[f"{prop}/title"] == (Target.PARAM_DESCRIPTION, "param title")
    assert texts[f"{prop}/enum/0"] == (Target.SCHEMA, "one")
    assert texts[f"{prop}/default"] == (Target.SCHEMA, "two")
    assert texts[f"{prop}/examples/0"] == (Target.SCHEMA, "three")
    assert texts[f"{prop}/x-mcp-header"] == (Target.SCHEMA, "Region")
    assert texts[f"{prop}#"] == (Target.SCHEMA, "ignore_previous")
    assert texts[f"{schema}/$defs/part/const"] == (Target.SCHEMA, "four")
    assert texts[f"{base}/outputSchema/description"] == (Target.PARAM_DESCRIPTION, "out")
    assert texts["/result/nextCursor"] == (Target.TOOL_RESULT, "next")


@pytest.mark.parametrize("odd", ["text", ["text"], {"name": ["text"]}, {"name": {"a": "text"}}])
def test_I_03_a_tool_of_odd_shape_is_read_all_the_same(odd: Any) -> None:
    assert "text" in [text.text for text in result_texts("tools/list", {"tools": [odd]})]
    assert "text" in [text.text for text in result_texts("tools/list", {"tools": odd})]


def test_I_04_a_tool_result_is_read_in_all_its_parts() -> None:
    result = {
        "content": [
            {"type": "text", "text": "plain"},
            {"type": "resource", "resource": {"uri": "file:///a", "text": "embedded"}},
            {"type": "resource_link", "uri": "file:///b", "description": "link"},
            {"type": "unknown", "payload": "odd"},
        ],
        "structuredContent": {"a": {"b": ["deep"]}},
        "isError": True,
        "_meta": {"k": "meta"},
    }
    texts = result_texts("tools/call", result)
    assert {text.target for text in texts} == {Target.TOOL_RESULT}
    assert {"plain", "embedded", "link", "odd", "deep", "meta", "file:///a"} <= {text.text for text in texts}
    assert found(texts)["/result/structuredContent/a/b/0"] == (Target.TOOL_RESULT, "deep")


def test_I_04_a_result_whose_request_is_unknown_is_read_too() -> None:
    tools = {"tools": [{"name": "n", "description": "d"}]}
    assert found(result_texts(None, tools))["/result/tools/0/description"] == (Target.TOOL_DESCRIPTION, "d")
    assert found(result_texts(None, {"content": [{"text": "t"}]}))["/result/content/0/text"][1] == "t"


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ({"type": "resource", "resource": {"blob": base64.b64encode(b"hidden text").decode()}}, "hidden text"),
        ({"type": "image", "data": base64.b64encode(b"hidden text").decode()}, "hidden text"),
        ({"type": "image", "data": "not base64 at all!"}, "not base64 at all!"),
        ({"type": "text", "data": "aGlkZGVu"}, "aGlkZGVu"),
    ],
)
def test_I_32_base64_is_read_as_what_it_holds(part: dict[str, Any], text: str) -> None:
    assert text in [one.text for one in result_texts("tools/call", {"content": [part]})]


def test_I_32_bytes_that_are_no_text_are_not_read() -> None:
    image = base64.b64encode(b"\x89PNG\r\n\x1a\n\xff").decode()
    texts = result_texts("tools/call", {"content": [{"type": "image", "data": image, "mimeType": "image/png"}]})
    assert [text.text for text in texts] == ["image/png"]


def test_I_32_no_stray_byte_and_no_spelling_hides_a_text() -> None:
    for blob in (
        base64.b64encode(b"find me\xff").decode(),
        base64.urlsafe_b64encode(b"find me??>").decode().rstrip("="),
    ):
        texts = result_texts("resources/read", {"contents": [{"uri": "file:///a", "blob": blob}]})
        assert [text.path for text in texts if "find me" in text.text] == ["/result/contents/0/blob;base64"]


def test_I_04_words_of_the_protocol_say_nothing_in_their_places_and_only_there() -> None:
    silent = {"resultType": "complete", "content": [{"type": "text", "text": ""}, {"type": "image", "data": ""}]}
    assert result_texts("tools/call", silent) == []
    loud = {"resultType": "text", "type": "complete", "content": [{"type": "task", "text": "image"}, "audio"]}
    assert {text.text for text in result_texts("tools/call", loud)} == {"text", "complete", "task", "image", "audio"}
    assert [text.text for text in result_texts("initialize", {"instructions": {"type": "text"}})] == ["text"]


def test_I_05_prompts_are_read() -> None:
    listed = {"prompts": [{"name": "p", "description": "d", "arguments": [{"name": "a", "description": "ad"}]}]}
    texts = found(result_texts("prompts/list", listed))
    assert texts["/result/prompts/0/description"] == (Target.TOOL_DESCRIPTION, "d")
    assert texts["/result/prompts/0/arguments/0/description"] == (Target.PARAM_DESCRIPTION, "ad")
    got = {"messages": [{"role": "user", "content": {"type": "text", "text": "do it"}}]}
    assert found(result_texts("prompts/get", got))["/result/messages/0/content/text"] == (Target.RESOURCE, "do it")


def test_I_06_resources_and_completions_are_read() -> None:
    for key in ("resources", "resourceTemplates"):
        listed = {key: [{"name": "n", "uri": "file:///x", "description": "d"}]}
        assert found(result_texts("resources/list", listed))[f"/result/{key}/0/uri"] == (Target.SCHEMA, "file:///x")
    read = {"contents": [{"uri": "u", "text": "body"}]}
    assert found(result_texts("resources/read", read))["/result/contents/0/text"] == (Target.RESOURCE, "body")
    completed = {"completion": {"values": ["v"]}}
    assert found(result_texts("completion/complete", completed))["/result/completion/values/0"][0] is Target.RESOURCE


def test_I_07_notifications_are_read() -> None:
    for method, params in (
        ("notifications/progress", {"message": "m"}),
        ("notifications/message", {"data": {"deep": "m"}}),
        ("notifications/cancelled", {"reason": "m"}),
        ("notifications/resources/updated", {"uri": "m"}),
    ):
        texts = server_message_texts(Message(kind="notification", method=method, params=params))
        assert [(text.target, text.text) for text in texts] == [(Target.TOOL_RESULT, "m")]


def test_I_08_server_requests_are_read() -> None:
    sampling = request(
        "sampling/createMessage",
        systemPrompt="system",
        messages=[{"role": "user", "content": {"type": "text", "text": "ask"}}],
        tools=[{"name": "t", "description": "tool"}],
    )
    texts = found(server_message_texts(sampling))
    assert texts["/params/systemPrompt"] == (Target.SAMPLING, "system")
    assert texts["/params/messages/0/content/text"] == (Target.SAMPLING, "ask")
    assert texts["/params/tools/0/description"] == (Target.TOOL_DESCRIPTION, "tool")
    elicitation = request(
        "elicitation/create",
        message="give",
        url="https://x.example",
        requestedSchema={"properties": {"p": {"description": "d"}}},
    )
    texts = found(server_message_texts(elicitation))
    assert texts["/params/message"] == (Target.ELICITATION, "give")
    assert texts["/params/url"] == (Target.ELICITATION, "https://x.example")
    assert texts["/params/requestedSchema/properties/p/description"] == (Target.PARAM_DESCRIPTION, "d")


def test_I_09_input_requests_are_read() -> None:
    requests = {
        "q": {"method": "elicitation/create", "params": {"message": "give"}},
        "s": {"method": "sampling/createMessage", "params": {"systemPrompt": "system"}},
        "odd": "text",
    }
    texts = found(result_texts("tools/call", {"resultType": "input_required", "inputRequests": requests}))
    assert texts["/result/inputRequests/q/params/message"] == (Target.ELICITATION, "give")
    assert texts["/result/inputRequests/s/params/systemPrompt"] == (Target.SAMPLING, "system")
    assert ("/result/inputRequests/odd", "text") in [
        (text.path, text.text)
        for text in result_texts("tools/call", {"resultType": "input_required", "inputRequests": requests})
    ]


def test_I_11_errors_are_read_with_data_of_any_type_and_like_results() -> None:
    texts = error_texts({"code": -32042, "message": "m", "data": {"elicitations": [{"url": "https://x"}]}})
    for target in (Target.ERROR, Target.TOOL_RESULT):
        assert {text.path: text.text for text in texts if text.target is target} == {
            "/error/message": "m",
            "/error/data/elicitations/0/url": "https://x",
        }


def test_I_20_call_arguments_are_read_deep_with_their_odd_keys() -> None:
    message = request("tools/call", name="run", arguments={"a": [{"b": "cmd"}], "; rm -rf /": 1}, task={"ttl": "t"})
    texts = found(request_texts(message))
    assert texts["/params/name"] == (Target.TOOL_NAME, "run")
    assert texts["/params/arguments/a/0/b"] == (Target.TOOL_ARGS, "cmd")
    assert texts["/params/arguments/; rm -rf ~1#"] == (Target.TOOL_ARGS, "; rm -rf /")
    assert texts["/params/task/ttl"] == (Target.TOOL_ARGS, "t")


@pytest.mark.parametrize("name", ["signature", "blob", "file_data", "encrypted_content"])
def test_I_20_no_argument_escapes_by_its_name(name: str) -> None:
    assert "cmd" in [text.text for text in request_texts(request("tools/call", name="t", arguments={name: "cmd"}))]


def test_I_20_a_number_as_long_as_one_of_a_card_is_read() -> None:
    texts = request_texts(
        request("tools/call", name="pay", arguments={"card": 4111111111111111, "a": [10**16, 12, True]})
    )

    assert found(texts)["/params/arguments/card"] == (Target.TOOL_ARGS, "4111111111111111")
    assert set(found(texts)) == {"/params/name", "/params/arguments/card"}


def test_I_22_a_number_in_what_a_user_answers_is_read_as_well() -> None:
    content = {"action": "accept", "content": {"card": 4111111111111111, "n": 3}}
    told = Message("response", id=1, result=content)
    assert found(answer_texts("elicitation/create", told))["/result/content/card"] == (
        Target.ELICITATION,
        "4111111111111111",
    )
    texts = found(request_texts(request("tools/call", name="t", inputResponses={"a": content})))
    assert texts["/params/inputResponses/a/content/card"] == (Target.ELICITATION, "4111111111111111")


def test_I_21_uris_and_prompt_arguments_are_read() -> None:
    assert found(request_texts(request("resources/read", uri="../etc")))["/params/uri"] == (Target.TOOL_ARGS, "../etc")
    prompt = request("prompts/get", name="p", arguments={"topic": "x"})
    assert found(request_texts(prompt))["/params/arguments/topic"] == (Target.TOOL_ARGS, "x")


def test_I_22_answers_of_the_client_are_read() -> None:
    def answer(result: dict[str, Any]) -> Message:
        return Message(kind="response", id=1, result=result)

    assert found(answer_texts("sampling/createMessage", answer({"content": {"text": "t"}}))) == {
        "/result/content/text": (Target.SAMPLING, "t")
    }
    assert found(answer_texts("elicitation/create", answer({"content": {"w": "t"}}))) == {
        "/result/content/w": (Target.ELICITATION, "t")
    }
    assert found(answer_texts("roots/list", answer({"roots": [{"uri": "file:///"}]}))) == {
        "/result/roots/0/uri": (Target.RESOURCE, "file:///")
    }
    refused = Message(kind="response", id=1, error={"code": -1, "message": "no"})
    assert found(answer_texts("roots/list", refused)) == {"/error/message": (Target.ERROR, "no")}


def test_I_22_input_responses_are_read() -> None:
    message = request(
        "tools/call",
        name="t",
        inputResponses={
            "e": {"action": "accept", "content": {"w": "wish"}},
            "s": {"model": "m", "content": {"text": "sampled"}},
            "r": {"roots": [{"uri": "file:///"}]},
        },
    )
    texts = found(request_texts(message))
    assert texts["/params/inputResponses/e/content/w"] == (Target.ELICITATION, "wish")
    assert texts["/params/inputResponses/s/content/text"] == (Target.SAMPLING, "sampled")
    assert texts["/params/inputResponses/r/roots/0/uri"] == (Target.RESOURCE, "file:///")


def test_I_23_request_state_is_opaque() -> None:
    assert request_texts(request("prompts/list", requestState="opaque")) == []
    assert result_texts("tools/call", {"requestState": "opaque"}) == []


def test_I_24_mirrored_and_trace_headers_are_read_decoded() -> None:
    headers = Headers(
        [
            ("mcp-name", "=?base64?w7w=?="),
            ("mcp-param-unknown", "value"),
            ("mcp-param-broken", "=?base64?x?="),
            ("traceparent", "00-1"),
            ("baggage", "k=v"),
            ("user-agent", "not forwarded"),
        ]
    )
    texts = found(request_texts(request("prompts/list"), headers))
    assert texts == {
        "/headers/mcp-name": (Target.TOOL_ARGS, "ü"),
        "/headers/mcp-param-unknown": (Target.TOOL_ARGS, "value"),
        "/headers/mcp-param-broken": (Target.TOOL_ARGS, "=?base64?x?="),
        "/headers/traceparent": (Target.TOOL_ARGS, "00-1"),
        "/headers/baggage": (Target.TOOL_ARGS, "k=v"),
    }


def test_I_24_the_name_of_something_declared_is_read_once() -> None:
    def read(name: str, *, is_declared: bool) -> list[tuple[Target, str]]:
        texts = request_texts(request("tools/call", name="add"), Headers([("mcp-name", name)]), is_declared=is_declared)
        return [(text.target, text.text) for text in texts]

    assert read("add", is_declared=True) == [(Target.TOOL_NAME, "add")]
    assert read("add", is_declared=False) == [(Target.TOOL_NAME, "add"), (Target.TOOL_ARGS, "add")]
    assert read("other", is_declared=True) == [(Target.TOOL_NAME, "add"), (Target.TOOL_ARGS, "other")]


def test_I_25_client_descriptions_are_read() -> None:
    message = request("initialize", clientInfo={"name": "n"}, capabilities={"experimental": {"x": "y"}})
    texts = found(request_texts(message))
    assert texts["/params/clientInfo/name"] == (Target.TOOL_ARGS, "n")
    assert texts["/params/capabilities/experimental/x"] == (Target.TOOL_ARGS, "y")
    meta = {META_VERSION: "2026-07-28", "io.modelcontextprotocol/clientInfo": {"name": "n"}}
    modern = request_texts(request("tools/list", _meta=meta))
    assert ("n", Target.TOOL_ARGS) in [(text.text, text.target) for text in modern]
    assert "2026-07-28" not in [text.text for text in modern]


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=4))
def test_I_20_no_string_of_any_arguments_is_left_out(arguments: dict[str, Any]) -> None:
    found_strings = {text.text for text in request_texts(request("tools/call", name="t", arguments=arguments))}
    assert strings(arguments) <= found_strings


@given(JSON, st.sampled_from(["tools/list", "tools/call", "prompts/get", "initialize", "unknown"]))
def test_I_03_and_I_04_no_string_of_any_result_is_left_out(value: Any, method: str) -> None:
    result = {"tools": [value, {"inputSchema": value, "x": value}], "content": value, "more": value}
    assert strings(result) <= {text.text for text in result_texts(method, result)}
