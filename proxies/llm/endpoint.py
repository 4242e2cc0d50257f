"""Joins the LLM surfaces to the transport: one admitted call from its route to its answer."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any, Final

import msgspec

from proxies import off_loop, pipeline
from proxies.exchange import Exchange
from proxies.json_texts import leaves
from proxies.llm.conversations import (
    conversation_of,
    fetch_conversation,
    is_kept_elsewhere,
    keep_conversation,
    keeps_conversation,
    recall_findings,
    resume_conversation,
)
from proxies.llm.errors import anthropic_body, bedrock_body, bedrock_type, gemini_body, ollama_body, openai_body
from proxies.llm.facts import note_call, request_facts, response_tool_calls
from proxies.llm.header_texts import HEADERS_PATH, header_texts
from proxies.llm.hidden_tokens import forget_tokens, may_hide, refuse_tokens, refuse_vocabulary
from proxies.llm.interpreters import framing, interpreter, stream_media_type
from proxies.llm.invoke_families import invoked_route
from proxies.llm.not_supported import not_supported
from proxies.llm.placeholder_hint import add_hint
from proxies.llm.realtime import endpoint as realtime
from proxies.llm.relay import relay_stream
from proxies.llm.request_texts import request_texts
from proxies.llm.response_texts import echoed_texts, repeatable_texts, response_texts, response_usage
from proxies.llm.surfaces import (
    STREAMS_BY_PATH,
    STREAMS_UNASKED,
    Route,
    Surface,
    find_route,
    speaks_anthropic,
    speaks_bedrock,
    speaks_gemini,
    speaks_ollama,
    upstream_path,
)
from proxies.llm.unread_texts import names
from proxies.llm.upstream_login import login_fields, signature_refusal
from proxies.refusal import Refusal
from proxies.strict_json import JSONRefused, dump, parse, refuse_case_variants
from proxies.transport.content_coding import is_identity
from proxies.transport.errors import UpstreamProtocolError
from proxies.transport.headers import Headers, forwardable_request_headers, forwardable_response_headers
from proxies.transport.http1_server import Request
from proxies.transport.pool import UpstreamResponse
from rules.canaries import MIN_VALUE_CHARS
from rules.model import Target, Text

# By name, because every look into an enumeration costs a tenth of a microsecond.
_COUNTED_ON_REQUEST: Final = frozenset({Surface.OPENAI_CHAT, Surface.OPENAI_COMPLETIONS})
"""APIs whose streams report usage only where they are asked to."""
_OPENAI_RESPONSES: Final = Surface.OPENAI_RESPONSES
_ANTHROPIC_MESSAGES: Final = Surface.ANTHROPIC_MESSAGES
_GEMINI: Final = Surface.GEMINI
_BEDROCK_INVOKE: Final = Surface.BEDROCK_INVOKE
_OLLAMA_SHOW: Final = Surface.OLLAMA_SHOW
_MODELS: Final = Surface.MODELS

_HEARTBEAT: Final = ("HEAD", "/")
"""With which the command line of Ollama looks whether somebody is there. Nothing stands in it, so it is answered here."""
JSON_HEADERS: Final = [("content-type", "application/json")]

FORWARDED_REQUEST_HEADERS: Final = frozenset(
    {
        "anthropic-beta",
        "anthropic-version",
        "openai-beta",
        "openai-organization",
        "openai-project",
        "traceparent",
        "tracestate",
        "user-agent",
        "x-amzn-bedrock-guardrailidentifier",
        "x-amzn-bedrock-guardrailversion",
        "x-amzn-bedrock-performanceconfig-latency",
        "x-amzn-bedrock-service-tier",
        "x-amzn-bedrock-trace",
        "x-goog-api-client",
    }
)
FORWARDED_RESPONSE_HEADERS: Final = frozenset(
    {
        "allow",
        "anthropic-organization-id",
        "openai-model",
        "openai-organization",
        "openai-processing-ms",
        "openai-version",
        "request-id",
        "retry-after",
        "x-amzn-bedrock-content-type",
        "x-amzn-bedrock-input-token-count",
        "x-amzn-bedrock-invocation-latency",
        "x-amzn-bedrock-output-token-count",
        "x-amzn-bedrock-performanceconfig-latency",
        "x-amzn-bedrock-service-tier",
        "x-amzn-errortype",
        "x-amzn-requestid",
        "x-should-retry",
        *(
            f"{vendor}-ratelimit-{kind}-{what}"
            for vendor in ("x", "anthropic")
            for kind in ("limit", "remaining", "reset", "requests", "tokens", "input-tokens", "output-tokens")
            for what in ("requests", "tokens", "limit", "remaining", "reset")
        ),
    }
)

CITATIONS_HEADER: Final = "x-ostiary-citations"
"""Of a streamed answer; a whole one has the member `citations`."""
MAX_CITED: Final = 50
SECURITY_CHECK_HEADER: Final = ("x-security-check", "passed")
"""Of an answer whose request was inspected and let through (LLMSG-RUN-1); without rules nothing was checked."""
_ENVELOPE_KEYS: Final = frozenset(
    """model messages input system instructions tools functions tool_choice stream stream_options max_tokens
    max_completion_tokens max_output_tokens prompt metadata response_format text reasoning temperature contents context
    template suffix raw format anthropic_version""".split()
)


def is_carrier(request: Request) -> bool:
    """Whether a request only opens a connection on which calls are made; every other one is a call."""
    return realtime.is_realtime(request)


async def serve(exchange: Exchange) -> None:
    """One LLM call; raises `Refusal`, `UpstreamError` or `BodyError`."""
    request = exchange.request
    if realtime.is_realtime(request):
        await realtime.serve(exchange)
        return
    route = find_route(request.method, request.path)
    if route is None:
        if (request.method, request.path) == _HEARTBEAT:
            exchange.answer(200, [], b"")
            return
        raise not_supported(request)
    exchange.protocol = route.surface.value
    reads_texts = pipeline.has_rules(exchange)
    body = b""
    hide_usage = False
    masked: dict[str, str] = {}
    streaming = False
    if route.surface is not _MODELS:
        data = await _receive(exchange, route)
        is_large = off_loop.is_large(data, exchange.protection.policies.reading_conditions)
        read = partial(_read_request, exchange, route, data)
        document = await off_loop.away(read) if is_large else read()
        if route.surface is _BEDROCK_INVOKE:
            route = invoked_route(route, document)
            exchange.protocol = route.surface.value
        streaming = _is_streamed(route, document)
        if exchange.proxy.decisions is not None:
            await pipeline.ask_decision_service(exchange, {"model": exchange.operation, "stream": streaming})
        if reads_texts and route.surface is _OPENAI_RESPONSES and is_kept_elsewhere(exchange, document):
            await off_loop.away(partial(fetch_conversation, exchange, document))
        prepare = partial(_prepare, exchange, route, document, streaming=streaming, reads_texts=reads_texts)
        body, hide_usage, masked = await off_loop.away(prepare) if is_large else prepare()
    upstream = await _forward(exchange, route, body, masked, streaming=streaming)
    try:
        await _return(exchange, route, upstream, hide_usage=hide_usage, reads_texts=reads_texts)
    finally:
        if not upstream.complete:
            upstream.close()


def _prepare(
    exchange: Exchange, route: Route, document: dict[str, Any], *, streaming: bool, reads_texts: bool
) -> tuple[bytes, bool, dict[str, str]]:
    """Judge a request and make of it what goes upstream; also whether its usage must be kept from the client, and the
    fields that are masked."""
    masked: dict[str, str] = {}
    if may_hide(exchange, route.surface):
        refuse_tokens(document)
    pipeline.check_context(exchange, document)
    if reads_texts:
        if route.surface is _OLLAMA_SHOW:
            refuse_vocabulary(document)
        masked = _inspect(exchange, route, document)
        exchange.may_repeat = repeatable_texts(route.surface, document)
    hide_usage = streaming and route.surface in _COUNTED_ON_REQUEST and _ask_for_usage(document)
    return dump(document), hide_usage, masked


def _is_streamed(route: Route, document: dict[str, Any]) -> bool:
    """Whether the answer is to come as a stream: by the path, by the body, or unless the body says no."""
    if route.surface in STREAMS_UNASKED:
        return document.get("stream") is not False
    if route.surface in STREAMS_BY_PATH:
        return route.streams
    return document.get("stream") is True


def _inspect(exchange: Exchange, route: Route, document: dict[str, Any]) -> dict[str, str]:
    """Inspect a request, and mask in place what has to be masked before it goes on; returns the fields that are masked."""
    surface = route.surface
    texts = request_texts(surface, document)
    header_texts(exchange.request.headers, FORWARDED_REQUEST_HEADERS, route.model, texts)
    facts = request_facts(exchange, document, texts) if pipeline.needs_facts(exchange) else None
    if exchange.capture is not None:
        note_call(exchange, document, texts, facts)
    recall_findings(exchange, surface, document)
    found = pipeline.inspect_request(exchange, texts, facts, _names(exchange, route, document))
    resume_conversation(exchange, surface, document)
    if found or exchange.masking:
        edits = pipeline.mask_request(exchange, document, texts, found, conversation_of(surface, document))
        if exchange.masking and exchange.protection.policies.hints_at_placeholders:
            add_hint(surface, document)
        return {path.removeprefix(HEADERS_PATH): text for path, text in edits.items() if path.startswith(HEADERS_PATH)}
    return {}


def _names(exchange: Exchange, route: Route, document: dict[str, Any]) -> list[Text]:
    """Where only a canary can be found: in names and ids, the model's in the path too."""
    found: list[Text] = []
    if exchange.proxy.canaries:
        names(document, MIN_VALUE_CHARS, found)
        names({"model": route.model}, MIN_VALUE_CHARS, found)
    return found


def render_refusal(exchange: Exchange, refusal: Refusal) -> tuple[int, list[tuple[str, str]], bytes]:
    """A refusal in the shape of the API that the client speaks."""
    headers = list(JSON_HEADERS)
    if refusal.outcome != "upstream_error" and refusal.status != 429:
        # The SDKs retry 409, 429 and 5xx by themselves; a decision does not change by asking again.
        headers.append(("x-should-retry", "false"))
    if speaks_anthropic(exchange.request.path, exchange.request.headers):
        return refusal.status, headers, dump(anthropic_body(refusal, exchange.id))
    if speaks_gemini(exchange.request.path):
        return refusal.status, headers, dump(gemini_body(refusal, exchange.id))
    if speaks_bedrock(exchange.request.path):
        headers.append(("x-amzn-errortype", bedrock_type(refusal.status)))
        return refusal.status, headers, dump(bedrock_body(refusal, exchange.id))
    if speaks_ollama(exchange.request.path):
        return refusal.status, headers, dump(ollama_body(refusal, exchange.id))
    return refusal.status, headers, dump(openai_body(refusal, exchange.id))


async def _receive(exchange: Exchange, route: Route) -> bytes:
    """The body of a POST with the right media type, encoding and version."""
    _check_media_type(route, exchange.request.headers)
    if route.surface is _ANTHROPIC_MESSAGES and "anthropic-version" not in exchange.request.headers:
        raise Refusal(400, "missing_version", "The anthropic-version header is missing.", remediation="Send it.")
    data = await exchange.request.body()
    exchange.request_bytes = len(data)
    exchange.lap("read_body", waiting=True)
    return data


def _read_request(exchange: Exchange, route: Route, data: bytes) -> dict[str, Any]:
    """The parsed body: strict JSON, envelope, model, stream flag."""
    try:
        document = parse(data)
        if type(document) is dict:
            refuse_case_variants(document, _ENVELOPE_KEYS)
    except JSONRefused as error:
        raise Refusal(400, "invalid_json", str(error), remediation="Send one JSON object in UTF-8.") from None
    if type(document) is not dict:
        raise Refusal(400, "invalid_json", "The body is not a JSON object.", remediation="Send one JSON object.")
    model = route.model or document.get("model")
    if model is None and route.surface is _OLLAMA_SHOW:
        model = document.get("name")
    if type(model) is not str or not 0 < len(model) <= 200:
        raise Refusal(422, "invalid_model", "The member 'model' must be a name.", remediation="Name a model.")
    exchange.operation = model
    if type(document.get("stream", False)) not in (bool, type(None)):
        raise Refusal(422, "invalid_stream", "The member 'stream' must be true or false.", remediation="Fix 'stream'.")
    exchange.lap("parse")
    return document


def _check_media_type(route: Route, headers: Headers) -> None:
    """A call of InvokeModel without a media type is JSON: so its documents say, and the AWS SDKs send none."""
    media_type = headers.get("content-type") or ("application/json" if route.surface is _BEDROCK_INVOKE else "")
    if not _is_json(media_type):
        raise Refusal(
            415,
            "unsupported_media_type",
            "The body must be application/json in UTF-8.",
            remediation="Send 'Content-Type: application/json'.",
        )
    if not is_identity(headers.get("content-encoding")):
        raise Refusal(
            415,
            "unsupported_encoding",
            "Compressed request bodies cannot be inspected.",
            remediation="Send the body without Content-Encoding.",
        )


@lru_cache(maxsize=64)
def _is_json(content_type: str) -> bool:
    """Whether this means JSON in UTF-8."""
    media_type, _, parameters = content_type.partition(";")
    charset = parameters.replace(" ", "").lower()
    return media_type.strip().lower() == "application/json" and charset in (
        "",
        "charset=utf-8",
        'charset="utf-8"',
    )


def _ask_for_usage(document: dict[str, Any]) -> bool:
    """Make a chat stream report its usage; True when the client did not ask for it itself (LLM-USE-2)."""
    options = document.get("stream_options")
    if type(options) is not dict:
        document["stream_options"] = {"include_usage": True}
        return True
    asked = options.get("include_usage") is True
    options["include_usage"] = True
    return not asked


async def _forward(
    exchange: Exchange, route: Route, body: bytes, masked: dict[str, str], *, streaming: bool
) -> UpstreamResponse:
    """Send the inspected body upstream with the upstream's own credential; `masked` are fields with new values."""
    proxy, request = exchange.proxy, exchange.request
    pool = proxy.pool
    headers = forwardable_request_headers(request.headers, FORWARDED_REQUEST_HEADERS)
    if masked:
        headers = [(name, masked.get(name, value)) for name, value in headers]
    headers.append(("accept", stream_media_type(route.surface) if streaming else "application/json"))
    if body:
        headers.append(("content-type", "application/json"))
    path = upstream_path(route.path, pool.origin.base_path)
    query = f"?{request.query}" if request.query and route.surface is _MODELS else ""
    if route.surface is _GEMINI and route.streams:
        # The upstream always streams events; a client that wants an array gets one from us.
        query = "?alt=sse"
    target = path + query
    headers += login_fields(proxy.config.upstream_auth, pool.origin, request.method, target, headers, body)
    upstream = await pool.request(request.method, target, headers, body, idempotent=request.method == "GET")
    exchange.lap("upstream", waiting=True)
    return upstream


async def _return(
    exchange: Exchange, route: Route, upstream: UpstreamResponse, *, hide_usage: bool, reads_texts: bool
) -> None:
    """Give the client what the upstream answered, inspected."""
    headers = forwardable_response_headers(upstream.headers, FORWARDED_RESPONSE_HEADERS)
    if reads_texts and route.surface is not _MODELS:
        headers.append(SECURITY_CHECK_HEADER)
    media_type = (upstream.headers.get("content-type") or "").partition(";")[0].strip().lower()
    if 300 <= upstream.status < 400:
        raise UpstreamProtocolError("The upstream answered with a redirect, which the gateway does not follow.")
    if refusal := signature_refusal(exchange.proxy.config.upstream_auth, upstream.status, upstream.headers):
        raise refusal
    if (
        media_type == stream_media_type(route.surface)
        and upstream.status == 200
        and (reader := interpreter(route.surface)) is not None
    ):
        if not is_identity(upstream.headers.get("content-encoding")):
            raise UpstreamProtocolError("The upstream compressed its event stream, which cannot be inspected.")
        if exchange.citations:
            headers.append(
                (CITATIONS_HEADER, ", ".join(citation.sha256 for citation in exchange.citations[:MAX_CITED]))
            )
        frames = framing(route.surface, exchange.request.query)
        await relay_stream(exchange, route.surface, reader, frames, upstream, headers, hide_usage=hide_usage)
        return
    is_here = upstream.complete
    data = await upstream.read(exchange.proxy.config.limits.max_response_bytes)
    if not is_here:
        exchange.lap("upstream", waiting=True)
    if media_type != "application/json":
        _refuse_other_media_type(upstream.status)
    finish = partial(_finish, exchange, route, upstream.status, data, reads_texts=reads_texts)
    is_away = off_loop.is_large(data, exchange.protection.policies.reading_conditions) or keeps_conversation(
        exchange, route.surface
    )
    body = await off_loop.away(finish) if is_away else finish()
    exchange.answer(upstream.status, [*JSON_HEADERS, *headers], body)


def _finish(exchange: Exchange, route: Route, status: int, data: bytes, *, reads_texts: bool) -> bytes:
    """Inspect a whole answer and make of it what the client gets; raises `Refusal`."""
    document = _parse_answer(data)
    if status >= 400:
        exchange.outcome = "upstream_error"
        exchange.error_code = f"upstream_{status}"
        texts: list[Text] = []
        leaves(document, Target.ERROR, "", texts)
        pipeline.finish_answer(exchange, document, texts, pipeline.inspect_response(exchange, texts))
        return dump(document)
    if type(document) is not dict and route.surface is not _MODELS:
        # No call has another answer: what is cut over the elements of a list would be read piece by piece.
        raise UpstreamProtocolError("The upstream's answer is not a JSON object.")
    if reads_texts:
        texts = response_texts(route.surface, document, exchange.may_repeat)
        found = pipeline.inspect_response(exchange, texts)
        notes = exchange.notes
        if (needed := pipeline.needs_tool_calls(exchange)) or notes is not None:
            calls = response_tool_calls(document)
            if calls and notes is not None:
                notes.answer(calls)
            if needed:
                pipeline.judge_tool_calls(exchange, calls)
        pipeline.finish_answer(
            exchange, document, [*texts, *echoed_texts(route.surface, document, exchange.may_repeat)], found
        )
    exchange.usage = response_usage(route.surface, document)
    if may_hide(exchange, route.surface):
        forget_tokens(document)
    if route.surface is _OPENAI_RESPONSES:
        keep_conversation(exchange, document)
    if exchange.citations:
        document["citations"] = msgspec.to_builtins(exchange.citations)
    return dump(document)


def _refuse_other_media_type(status: int) -> None:
    """A body that cannot be read is never relayed; the upstream's status is kept where it is an error."""
    message = f"The upstream answered {status} with a body that is not JSON, so it could not be inspected."
    raise Refusal(
        status if status >= 400 else 502,
        "upstream_error" if status >= 400 else "upstream_protocol_error",
        message,
        remediation="Check that the proxy's target is an LLM API and that its base path is right.",
        outcome="upstream_error",
    )


def _parse_answer(data: bytes) -> Any:
    try:
        return parse(data)
    except JSONRefused as error:
        raise UpstreamProtocolError(f"The upstream's answer is not usable. {error}") from None
