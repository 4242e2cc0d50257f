"""Bodies of InvokeModel: whose they are, every text in them, what they count, and what their streams say."""

from __future__ import annotations

from typing import Any

import pytest

from proxies.contract import Usage
from proxies.llm.invoke_families import LlamaStream, TitanStream, invoked_surface
from proxies.llm.request_texts import request_texts
from proxies.llm.response_texts import response_texts, response_usage
from proxies.llm.surfaces import Surface
from proxies.transport.errors import UpstreamProtocolError
from rules.model import Target
from tests.bedrock_replies import llama_body, llama_events, titan_body, titan_events

LLAMA, TITAN = Surface.BEDROCK_LLAMA, Surface.BEDROCK_TITAN
USED = Usage(input_tokens=11, output_tokens=7)


@pytest.mark.parametrize(
    ("body", "surface"),
    [
        ({"anthropic_version": "bedrock-2023-05-31", "messages": []}, Surface.BEDROCK_INVOKE),
        ({"prompt": "x", "max_gen_len": 9, "temperature": 0.5, "top_p": 1, "images": []}, LLAMA),
        ({"prompt": "x"}, LLAMA),
        ({"inputText": "x", "textGenerationConfig": {"stopSequences": ["User:"]}}, TITAN),
        ({"inputText": "x", "dimensions": 256, "normalize": True, "embeddingTypes": ["float"]}, TITAN),
        ({"anthropic_version": "bedrock-2023-05-31", "prompt": "x"}, None),
        ({"anthropic_version": "bedrock-2023-05-31", "inputText": "x"}, None),
        ({"anthropic_version": 1, "messages": []}, None),
        ({"prompt": "x", "max_tokens": 9}, None),
        ({"prompt": "x", "max_tokens_to_sample": 9}, None),
        ({"prompt": ["x"]}, None),
        ({"prompt": "x", "inputText": "x"}, None),
        ({"inputText": "x", "inputImage": "iVBORw0KGgo="}, None),
        ({"inputText": ["x"]}, None),
        ({"messages": [], "inferenceConfig": {}}, None),
        ({}, None),
    ],
)
def test_AG_MP_3_a_body_is_of_one_maker_or_does_not_pass(body: dict[str, Any], surface: Surface | None) -> None:
    assert invoked_surface(body) is surface


def test_LLM_SRF_3_every_text_of_a_request_is_read() -> None:
    llama = request_texts(LLAMA, {"prompt": "one", "images": ["aGVsbG8=", "no picture: two"], "top_p": 1})
    titan = request_texts(TITAN, {"inputText": "one", "textGenerationConfig": {"stopSequences": ["two"], "topP": 1}})

    assert [(text.target, text.text) for text in llama] == [(Target.PROMPT, "one"), (Target.PROMPT, "no picture: two")]
    assert [(text.target, text.text) for text in titan] == [(Target.PROMPT, "one"), (Target.PROMPT, "two")]


@pytest.mark.parametrize(
    ("surface", "body", "said"),
    [
        (LLAMA, llama_body("one", more={"deep": ["two"]}).body, ["one", "two"]),
        (TITAN, titan_body("one", "two").body, ["one", "two"]),
        (TITAN, {"results": ["one", {"other": "two"}], "more": "three"}, ["one", "two", "three"]),
        (TITAN, {"results": "one"}, ["one"]),
        (TITAN, {"embedding": [0.5, 1], "inputTextTokenCount": 5}, []),
    ],
)
def test_LLM_SRF_3_every_text_of_an_answer_is_read(surface: Surface, body: dict[str, Any], said: list[str]) -> None:
    assert [text.text for text in response_texts(surface, body)] == said


@pytest.mark.parametrize(
    ("surface", "body", "used"),
    [
        (LLAMA, llama_body("x").body, USED),
        (LLAMA, {"generation": "x"}, None),
        (LLAMA, {"generation_token_count": 3, "amazon-bedrock-invocationMetrics": {"inputTokenCount": 2}}, Usage(2, 0)),
        (TITAN, titan_body("x").body, USED),
        (TITAN, titan_body("x", "y").body, Usage(input_tokens=11, output_tokens=14)),
        (TITAN, {"embedding": [], "inputTextTokenCount": 5}, Usage(input_tokens=5)),
        (TITAN, {"results": []}, None),
        (TITAN, {"amazon-bedrock-invocationMetrics": "none"}, None),
    ],
)
def test_LLM_USE_1_what_an_answer_counts(surface: Surface, body: dict[str, Any], used: Usage | None) -> None:
    assert response_usage(surface, body) == used


@pytest.mark.parametrize(
    ("interpreter", "events"), [(LlamaStream(), llama_events("hello")), (TitanStream(), titan_events("hello"))]
)
def test_LLM_USE_1_a_stream_is_read_and_counted(interpreter: LlamaStream, events: list[dict[str, Any]]) -> None:
    readings = [interpreter.read(None, event) for event in events]

    assert "".join(piece.text for reading in readings for piece in reading.pieces) == "hello"
    assert [reading.is_end for reading in readings] == [False] * 5 + [True]
    assert readings[-1].ended == ["text"]
    assert interpreter.usage == USED
    assert [text for reading in readings for text in reading.texts] == []


def test_AG_MP_3_an_event_of_another_makers_model_ends_the_stream() -> None:
    """Its text would come in pieces that nobody puts together."""
    for event in ({"outputs": [{"text": "he", "stop_reason": None}]}, {"completion": "he"}, {"generation": ["he"]}):
        with pytest.raises(UpstreamProtocolError):
            LlamaStream().read(None, event)
    with pytest.raises(UpstreamProtocolError):
        TitanStream().read(None, {"generation": "he"})


def test_LLM_SRF_3_what_bedrock_adds_to_a_stream_is_read() -> None:
    reading = LlamaStream().read(None, {"amazon-bedrock-trace": {"guardrail": {"input": "one"}}})
    beside = TitanStream().read(None, {"outputText": "x", "amazon-bedrock-trace": {"output": ["two"]}})

    assert [text.text for text in reading.texts if not text.path.endswith("#")] == ["one"]
    assert [text.text for text in beside.texts if not text.path.endswith("#")] == ["two"]
