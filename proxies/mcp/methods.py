"""What may cross in which direction (§1, I-30). A method that is not listed cannot be inspected, so it does not pass."""

from __future__ import annotations

from typing import Final, Literal

Era = Literal["legacy", "modern"]

CLIENT_REQUESTS: Final[dict[Era, frozenset[str]]] = {
    "legacy": frozenset(
        {
            "completion/complete",
            "initialize",
            "logging/setLevel",
            "ping",
            "prompts/get",
            "prompts/list",
            "resources/list",
            "resources/read",
            "resources/subscribe",
            "resources/templates/list",
            "resources/unsubscribe",
            "tasks/cancel",
            "tasks/get",
            "tasks/list",
            "tasks/result",
            "tools/call",
            "tools/list",
        }
    ),
    "modern": frozenset(
        {
            "completion/complete",
            "prompts/get",
            "prompts/list",
            "resources/list",
            "resources/read",
            "resources/templates/list",
            "server/discover",
            "subscriptions/listen",
            "tasks/cancel",
            "tasks/get",
            "tasks/update",
            "tools/call",
            "tools/list",
        }
    ),
}

TASK_METHODS: Final = frozenset({"tasks/cancel", "tasks/get", "tasks/list", "tasks/result", "tasks/update"})
"""Requests about work that outlives the call which started it: `tasks` decides who may make them (L-15, M-20)."""

CLIENT_NOTIFICATIONS: Final = frozenset(
    {
        "notifications/cancelled",
        "notifications/initialized",
        "notifications/progress",
        "notifications/roots/list_changed",
        "notifications/tasks/status",
    }
)
"""Legacy only: the modern era's HTTP transport defines no notification from client to server (M-11)."""

SERVER_REQUESTS: Final[dict[str, str]] = {
    "elicitation/create": "elicitation",
    "ping": "",
    "roots/list": "roots",
    "sampling/createMessage": "sampling",
    "tasks/cancel": "tasks",
    "tasks/get": "tasks",
    "tasks/list": "tasks",
    "tasks/result": "tasks",
}
"""Legacy server to client requests, and the capability that the client must have declared for each (L-12)."""

INPUT_REQUESTS: Final = frozenset({"elicitation/create", "roots/list", "sampling/createMessage"})
"""What a modern result may ask the client for (M-15)."""

SERVER_NOTIFICATIONS: Final = frozenset(
    {
        "notifications/cancelled",
        "notifications/elicitation/complete",
        "notifications/message",
        "notifications/progress",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
        "notifications/resources/updated",
        "notifications/tasks/status",
        "notifications/tools/list_changed",
    }
)
"""Legacy, on any stream."""

REQUEST_STREAM_NOTIFICATIONS: Final = frozenset({"notifications/message", "notifications/progress"})
"""Modern, on the stream of the request they belong to (M-12)."""

LISTEN_FILTERS: Final[dict[str, str]] = {
    "notifications/prompts/list_changed": "promptsListChanged",
    "notifications/resources/list_changed": "resourcesListChanged",
    "notifications/resources/updated": "resourceSubscriptions",
    "notifications/tasks": "taskIds",
    "notifications/tools/list_changed": "toolsListChanged",
}
"""Modern, on a listen stream, and the filter key that must have asked for each (M-14)."""

NAME_PARAM: Final[dict[str, str]] = {
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/cancel": "taskId",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tools/call": "name",
}
"""Methods whose subject is mirrored in `Mcp-Name`, and the parameter that holds it (M-03)."""

STRING_PARAMS: Final[dict[str, str]] = {
    **NAME_PARAM,
    "resources/subscribe": "uri",
    "resources/unsubscribe": "uri",
    "tasks/result": "taskId",
    "logging/setLevel": "level",
}
"""Methods that mean nothing without this string parameter."""

LIST_METHODS: Final = frozenset({"prompts/list", "resources/list", "resources/templates/list", "tools/list"})
CACHEABLE_METHODS: Final = LIST_METHODS | {"resources/read", "server/discover"}
"""Modern results that carry `ttlMs` and `cacheScope` (M-17)."""
INPUT_METHODS: Final = frozenset({"prompts/get", "resources/read", "tools/call"})
"""Modern requests whose result may ask for input (M-15)."""
