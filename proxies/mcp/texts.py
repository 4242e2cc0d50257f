"""Every place where content can cross, as `Text`s (§2.8, I-01..I-25). One function a kind of message; no I/O.

Nothing is skipped by its name: a member that this module does not know is inspected like its neighbours. The exceptions
are `requestState`, which only the server reads and whose size is bounded (I-23), base64 that is not text, and words of the
protocol where the protocol puts them, which say nothing but what they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from proxies.base64_texts import base64_text
from proxies.json_texts import BASE64_SUFFIX, DESCRIPTION_KEYS, is_name, key_pointer, number_leaves, pointer
from proxies.mcp.eras import META_VERSION, NAME_HEADER
from proxies.mcp.header_values import decode_value
from proxies.mcp.messages import Message
from proxies.mcp.param_headers import PREFIX
from proxies.transport.headers import Headers
from rules.model import Target, Text

TRACE_HEADERS: Final = frozenset({"baggage", "traceparent", "tracestate"})
_READ_PREFIXES: Final = (PREFIX, NAME_HEADER, *TRACE_HEADERS)

_SCHEMA_MEMBERS: Final = frozenset({"inputSchema", "outputSchema", "requestedSchema", "parameters"})
_NAME_MAPS: Final = frozenset({"properties", "$defs", "definitions", "patternProperties", "dependentSchemas"})
"""Schema keywords whose keys are names that the author chose."""
_NOT_CONTENT: Final = frozenset({"requestState"})
_CARRIERS: Final = frozenset({str, dict, list})
_CONTAINERS: Final = frozenset({dict, list})
_NAMES_OF_THE_PROTOCOL: Final = {
    f"io.modelcontextprotocol/{name}": f"io.modelcontextprotocol~1{name}"
    for name in """clientCapabilities clientInfo logLevel protocolVersion related-task serverInfo subscriptionId
    tasks""".split()
}
"""Keys that the protocol itself has chosen, so that nobody says anything with them, as they stand in pointers. As texts they
look like base64, which every request would have decoded in vain."""
_RESULT_TYPES: Final = frozenset({"complete", "input_required", "task"})
_CONTENT_TYPES: Final = frozenset({"audio", "image", "resource", "resource_link", "text"})


# --- Client to upstream -----------------------------------------------------------------------------------------------


def request_texts(message: Message, headers: Headers | None = None, *, is_declared: bool = False) -> list[Text]:
    """A request or notification from the client: parameters, and in the modern era the mirrored headers (I-20..I-25).

    What `is_declared` has the name of something that the server declares, so that the field which repeats it says no more.
    """
    texts: list[Text] = []
    params = message.params or {}
    for key, value in params.items():
        path = f"/params/{key}" if is_name(key) else _below("/params", key, Target.TOOL_ARGS, texts)
        if key == "name":
            _leaves(value, Target.TOOL_NAME, path, texts)
        elif key == "inputResponses" and type(value) is dict:
            for name, response in value.items():
                _leaves(name, Target.ELICITATION, key_pointer(path, name), texts)
                _leaves(response, _answer_target(response), pointer(path, name), texts)
        elif key == "_meta" and type(value) is dict:
            # The version was compared with a fixed list, so it cannot carry anything.
            _leaves({k: v for k, v in value.items() if k != META_VERSION}, Target.TOOL_ARGS, path, texts)
        elif key not in _NOT_CONTENT:
            _leaves(value, Target.TOOL_ARGS, path, texts)
            number_leaves({key: value}, Target.TOOL_ARGS, "/params", texts)
    number_leaves(params.get("inputResponses"), Target.ELICITATION, "/params/inputResponses", texts)
    if headers is not None:
        _header_texts(headers, params.get("name") if is_declared else None, texts)
    return texts


def answer_texts(method: str, message: Message) -> list[Text]:
    """The client's response to a server request (I-22)."""
    texts: list[Text] = []
    if message.error is not None:
        _leaves(message.error, Target.ERROR, "/error", texts)
        return texts
    target = {"sampling/createMessage": Target.SAMPLING, "roots/list": Target.RESOURCE}.get(method, Target.ELICITATION)
    _leaves(message.result, target, "/result", texts)
    number_leaves(message.result, target, "/result", texts)
    return texts


def _header_texts(headers: Headers, declared_name: Any, texts: list[Text]) -> None:
    for name, value in headers.items():
        if not name.startswith(_READ_PREFIXES):
            continue
        if name.startswith(PREFIX) or (name == NAME_HEADER and value != declared_name):
            # What cannot be decoded is refused elsewhere where it matters; here it is read as it is.
            decoded = decode_value(value)
            texts.append(Text(Target.TOOL_ARGS, f"/headers/{name}", value if decoded is None else decoded))
        elif name in TRACE_HEADERS:
            texts.append(Text(Target.TOOL_ARGS, f"/headers/{name}", value))


def _answer_target(response: Any) -> Target:
    if type(response) is dict and "model" in response:
        return Target.SAMPLING
    if type(response) is dict and "roots" in response:
        return Target.RESOURCE
    return Target.ELICITATION


# --- Upstream to client -----------------------------------------------------------------------------------------------


def result_texts(method: str | None, result: dict[str, Any]) -> list[Text]:
    """A result (I-01..I-06, I-09, I-10). `method` is None where the request is no longer known."""
    texts: list[Text] = []
    reader = _RESULT_READERS.get(method or "", _tool_result)
    for key, value in result.items():
        path = f"/result/{key}" if key.isidentifier() else pointer("/result", key)
        if key == "inputRequests" and type(value) is dict:
            _questions(value, path, texts)
        elif type(value) is list and key in _DECLARATION_LISTS:
            for index, declaration in enumerate(value):
                _declaration(declaration, f"{path}/{index}", texts)
        elif key == "resultType" and type(value) is str and value in _RESULT_TYPES:
            continue
        elif key not in _NOT_CONTENT:
            reader(key, value, path, texts)
            number_leaves(value, Target.TOOL_RESULT, path, texts)
    return texts


def server_message_texts(message: Message) -> list[Text]:
    """A notification or a legacy request from the server (I-07, I-08)."""
    texts: list[Text] = []
    if message.kind == "request":
        _server_request({"method": message.method, "params": message.params or {}}, "", texts)
    elif message.method == "notifications/tasks":
        for key, value in (message.params or {}).items():
            path = pointer("/params", key)
            if key == "inputRequests" and type(value) is dict:
                _questions(value, path, texts)
            else:
                _task(key, value, path, texts)
    else:
        _content(message.params, Target.TOOL_RESULT, "/params", texts)
    return texts


def error_texts(error: dict[str, Any]) -> list[Text]:
    """An error response: message and data of any type (I-11).

    Clients show the error of a call to the model as they show a result: an order hidden in it is no less of an order.
    """
    texts: list[Text] = []
    _leaves(error, Target.ERROR, "/error", texts)
    number_leaves(error, Target.ERROR, "/error", texts)
    return texts + [Text(Target.TOOL_RESULT, text.path, text.text) for text in texts]


def _tool_result(_key: str, value: Any, path: str, texts: list[Text]) -> None:
    _content(value, Target.TOOL_RESULT, path, texts)


def _task(key: str, value: Any, path: str, texts: list[Text]) -> None:
    """A member of a task: its result is a tool's, its error is an error, wherever it is told (I-10)."""
    _content(value, Target.ERROR if key == "error" else Target.TOOL_RESULT, path, texts)


def _questions(requests: dict[str, Any], path: str, texts: list[Text]) -> None:
    """What a modern result or task asks of the client (I-09)."""
    for name, request in requests.items():
        _leaves(name, Target.ELICITATION, key_pointer(path, name), texts)
        _server_request(request, pointer(path, name), texts)


def _resource(_key: str, value: Any, path: str, texts: list[Text]) -> None:
    _content(value, Target.RESOURCE, path, texts)


def _server(_key: str, value: Any, path: str, texts: list[Text]) -> None:
    _leaves(value, Target.SERVER_INSTRUCTIONS, path, texts)


_RESULT_READERS: Final[dict[str, Callable[[str, Any, str, list[Text]], None]]] = {
    "initialize": _server,
    "server/discover": _server,
    "prompts/get": _resource,
    "resources/read": _resource,
    "completion/complete": _resource,
    "tasks/get": _task,
}

_DECLARATION_LISTS: Final = frozenset({"tools", "prompts", "resources", "resourceTemplates"})


def _declaration(value: Any, path: str, texts: list[Text]) -> None:
    """One whole tool, prompt, resource or template: every string of it, unknown members included (I-03, I-05, I-06)."""
    if type(value) is not dict:
        _leaves(value, Target.SCHEMA, path, texts)
        return
    for key, member in value.items():
        below = pointer(path, key)
        if key == "name":
            _leaves(member, Target.TOOL_NAME, below, texts)
        elif key in ("description", "title", "annotations", "_meta"):
            _leaves(member, Target.TOOL_DESCRIPTION, below, texts)
        elif key in _SCHEMA_MEMBERS or key == "arguments":
            _schema(member, below, texts)
        else:
            _leaves(member, Target.SCHEMA, below, texts)


def _schema(value: Any, path: str, texts: list[Text]) -> None:
    """A JSON Schema: descriptions and titles apart from the rest, and the names of the properties (I-03)."""
    if type(value) is dict:
        for key, member in value.items():
            below = pointer(path, key)
            if not is_name(key) and not key.startswith("$"):
                texts.append(Text(Target.SCHEMA, key_pointer(path, key), key))
            if key in _NAME_MAPS and type(member) is dict:
                texts.extend(Text(Target.SCHEMA, key_pointer(below, name), name) for name in member if name)
            if key in DESCRIPTION_KEYS and type(member) is str:
                _leaves(member, Target.PARAM_DESCRIPTION, below, texts)
            elif type(member) in _CARRIERS:
                _schema(member, below, texts)
    elif type(value) is list:
        for index, member in enumerate(value):
            _schema(member, f"{path}/{index}", texts)
    else:
        _leaves(value, Target.SCHEMA, path, texts)


def _server_request(request: Any, path: str, texts: list[Text]) -> None:
    """What a server asks of the client or its user: a legacy request or one of `inputRequests` (I-08, I-09)."""
    if type(request) is not dict or type(request.get("params")) is not dict:
        _leaves(request, Target.ELICITATION, path, texts)
        return
    target = Target.SAMPLING if request.get("method") == "sampling/createMessage" else Target.ELICITATION
    for key, value in request["params"].items():
        below = pointer(f"{path}/params", key)
        if key == "tools" and type(value) is list:
            for index, tool in enumerate(value):
                _declaration(tool, f"{below}/{index}", texts)
        elif key in _SCHEMA_MEMBERS:
            _schema(value, below, texts)
        else:
            _content(value, target, below, texts)


# --- Walks ------------------------------------------------------------------------------------------------------------


def _leaves(value: Any, target: Target, path: str, texts: list[Text]) -> None:
    """Every string below `value`; keys that are more than a plain name are texts too."""
    kind = type(value)
    if kind is str:
        if value:
            texts.append(Text(target, path, value))
    elif kind is dict:
        for key, member in value.items():
            below = f"{path}/{key}" if is_name(key) else _below(path, key, target, texts)
            if type(member) is str:  # Most are: without a call of its own for each.
                if member:
                    texts.append(Text(target, below, member))
            elif type(member) in _CONTAINERS:
                _leaves(member, target, below, texts)
    elif kind is list:
        for index, member in enumerate(value):
            if type(member) in _CARRIERS:
                _leaves(member, target, f"{path}/{index}", texts)


def _content(value: Any, target: Target, path: str, texts: list[Text]) -> None:
    """Like `_leaves`, but base64 members are read as what they hold: text where it is text, else nothing (I-32)."""
    kind = type(value)
    if kind is dict:
        for key, member in value.items():
            below = f"{path}/{key}" if is_name(key) else _below(path, key, target, texts)
            if type(member) is str:
                if key == "blob" or (key == "data" and value.get("type") in ("image", "audio")):
                    text = base64_text(member)
                    if text is None:
                        _leaves(member, target, below, texts)
                    else:
                        _leaves(text, target, below + BASE64_SUFFIX, texts)
                elif member and not (key == "type" and member in _CONTENT_TYPES):
                    texts.append(Text(target, below, member))
            elif type(member) in _CONTAINERS:
                _content(member, target, below, texts)
    elif kind is list:
        for index, member in enumerate(value):
            if type(member) in _CARRIERS:
                _content(member, target, f"{path}/{index}", texts)
    else:
        _leaves(value, target, path, texts)


def _below(path: str, key: str, target: Target, texts: list[Text]) -> str:
    """The place of a member whose key is more than a plain name, and therefore a text too."""
    if (of_the_protocol := _NAMES_OF_THE_PROTOCOL.get(key)) is not None:
        return f"{path}/{of_the_protocol}"
    if len(key) > 1:
        texts.append(Text(target, key_pointer(path, key), key))
    return pointer(path, key)
