"""Token usage of an answer, normalised (LLM-USE-1).

OpenAI's prompt tokens include cached ones; input tokens of Anthropic and Bedrock exclude cache reads and writes, so they are
added.
Streams report running totals: the last value of each field counts, nothing is summed (requirements §3.1.2).
"""

from __future__ import annotations

from typing import Any

from proxies.contract import Usage

MAX_TOKENS_REPORTED = 10**12
"""A count above this is nonsense from the upstream and is taken as absent."""


def openai_usage(usage: Any) -> Usage | None:
    """From `usage` of Chat Completions (`prompt_tokens`), Responses or Realtime (`input_tokens`)."""
    if type(usage) is not dict:
        return None
    details_in = (
        usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or usage.get("input_token_details")
    )
    details_out = usage.get("completion_tokens_details") or usage.get("output_tokens_details")
    cached = written = reasoning = 0
    if type(details_in) is dict:
        cached, written = _count(details_in, "cached_tokens"), _count(details_in, "cache_write_tokens")
    if type(details_out) is dict:
        reasoning = _count(details_out, "reasoning_tokens")
    return Usage(
        input_tokens=_count(usage, "prompt_tokens") or _count(usage, "input_tokens"),
        output_tokens=_count(usage, "completion_tokens") or _count(usage, "output_tokens"),
        cached_input_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=reasoning,
    )


def anthropic_usage(usage: Any) -> Usage | None:
    """From `usage` of a message, or the last non-null value of each field of a stream's `usage` objects."""
    if type(usage) is not dict or not usage:
        return None
    cache_read = _count(usage, "cache_read_input_tokens")
    cache_write = _count(usage, "cache_creation_input_tokens")
    return Usage(
        input_tokens=_count(usage, "input_tokens") + cache_read + cache_write,
        output_tokens=_count(usage, "output_tokens"),
        cached_input_tokens=cache_read,
        cache_write_tokens=cache_write,
    )


def gemini_usage(usage: Any) -> Usage | None:
    """From `usageMetadata`: prompt tokens include cached ones; thoughts are output beside the candidates."""
    if type(usage) is not dict or not usage:
        return None
    thoughts = _count(usage, "thoughtsTokenCount")
    return Usage(
        input_tokens=_count(usage, "promptTokenCount") + _count(usage, "toolUsePromptTokenCount"),
        output_tokens=_count(usage, "candidatesTokenCount") + thoughts,
        cached_input_tokens=_count(usage, "cachedContentTokenCount"),
        reasoning_tokens=thoughts,
    )


def converse_usage(usage: Any) -> Usage | None:
    """From `usage` of an answer of Converse or of a stream's `metadata`: input tokens exclude cache reads and writes."""
    if type(usage) is not dict or not usage:
        return None
    cache_read, cache_write = _count(usage, "cacheReadInputTokens"), _count(usage, "cacheWriteInputTokens")
    return Usage(
        input_tokens=_count(usage, "inputTokens") + cache_read + cache_write,
        output_tokens=_count(usage, "outputTokens"),
        cached_input_tokens=cache_read,
        cache_write_tokens=cache_write,
    )


def llama_usage(body: Any) -> Usage | None:
    """From the counts of an answer of Llama by InvokeModel, or of a stream's last event."""
    if type(body) is not dict or type(body.get("generation_token_count")) is not int:
        return _invoked(body)
    return _invoked(body) or Usage(
        input_tokens=_count(body, "prompt_token_count"), output_tokens=_count(body, "generation_token_count")
    )


def titan_usage(body: Any) -> Usage | None:
    """From the counts of an answer of Titan by InvokeModel, or of a stream's last event."""
    if type(body) is not dict or not {"inputTextTokenCount", "totalOutputTextTokenCount"} & body.keys():
        return _invoked(body)
    results = body.get("results")
    said = [_count(result, "tokenCount") for result in results if type(result) is dict] if type(results) is list else ()
    return _invoked(body) or Usage(
        input_tokens=_count(body, "inputTextTokenCount"),
        output_tokens=sum(said) or _count(body, "totalOutputTextTokenCount"),
    )


def _invoked(body: Any) -> Usage | None:
    """What Bedrock counted itself, in the last event of a stream."""
    counted = body.get("amazon-bedrock-invocationMetrics") if type(body) is dict else None
    if type(counted) is not dict:
        return None
    return Usage(input_tokens=_count(counted, "inputTokenCount"), output_tokens=_count(counted, "outputTokenCount"))


def ollama_usage(body: Any) -> Usage | None:
    """From the counts of an answer or of a stream's last line. A prompt that is still in the cache is not counted."""
    if type(body) is not dict or not {"prompt_eval_count", "eval_count"} & body.keys():
        return None
    return Usage(input_tokens=_count(body, "prompt_eval_count"), output_tokens=_count(body, "eval_count"))


def _count(usage: dict[str, Any], key: str) -> int:
    value = usage.get(key)
    return value if type(value) is int and 0 <= value <= MAX_TOKENS_REPORTED else 0
