"""The tasks extension of the modern era (M-20): tools that go on after their call was answered, and what asks for them."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.server import require_client_extension
from mcp.shared.exceptions import MCPError
from mcp.types import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    ElicitRequest,
    InputRequiredResult,
    InputResponses,
    RequestParams,
)
from pydantic import Field

from tests.mcp_fixture.input_required import form

IDENTIFIER = "io.modelcontextprotocol/tasks"
TTL_MS = 600_000
POLL_MS = 100
MODERN = frozenset({"2026-07-28"})


class TaskParams(RequestParams):
    """What every method of the extension is about."""

    task_id: str


class UpdateParams(TaskParams):
    """Answers to what a task has asked; entries that are no answer are ignored."""

    input_responses: dict[str, Any] = Field(default_factory=dict)


class Task:
    """One piece of work that outlives its call."""

    def __init__(self) -> None:
        self.id = secrets.token_urlsafe(16)
        self.status = "working"
        self.created_at = self.updated_at = _now()
        self.outcome: dict[str, Any] = {}
        """`result` or `error`, once there is one."""
        self.open_questions: dict[str, ElicitRequest] = {}
        self._answers: dict[str, Any] = {}
        self._answered = asyncio.Event()
        self.work: asyncio.Task[None] | None = None

    def settle(self, status: str, **outcome: Any) -> None:
        """Change the status."""
        self.status, self.outcome, self.updated_at = status, outcome, _now()

    async def ask(self, questions: dict[str, ElicitRequest]) -> dict[str, Any]:
        """Wait until the client has answered every question."""
        self.open_questions = dict(questions)
        self.settle("input_required")
        await self._answered.wait()
        self.settle("working")
        return self._answers

    def answer(self, responses: dict[str, Any]) -> None:
        """Take the answers to open questions."""
        for key in responses.keys() & self.open_questions.keys():
            del self.open_questions[key]
            self._answers[key] = responses[key]
        if self._answers and not self.open_questions:
            self._answered.set()

    def wire(self) -> dict[str, Any]:
        """What the call that starts the task is answered with, less its `resultType`."""
        return {
            "taskId": self.id,
            "status": self.status,
            "createdAt": self.created_at,
            "lastUpdatedAt": self.updated_at,
            "ttlMs": TTL_MS,
            "pollIntervalMs": POLL_MS,
        }

    def detailed(self) -> dict[str, Any]:
        """What `tasks/get` says."""
        asked = {
            key: question.model_dump(by_alias=True, mode="json", exclude_none=True)
            for key, question in self.open_questions.items()
        }
        questions = {"inputRequests": asked} if asked else {}
        return {"resultType": "complete", **self.wire(), **questions, **self.outcome}


Job = Callable[[Task, dict[str, Any]], Awaitable[str]]


async def _slow_compute(_task: Task, arguments: dict[str, Any]) -> str:
    await asyncio.sleep(arguments.get("seconds", 0))
    return f"Computed {arguments.get('label', '')}."


async def _failing_job(_task: Task, _arguments: dict[str, Any]) -> str:
    await asyncio.sleep(0.1)
    raise ToolError("The job failed")


async def _protocol_error_job(_task: Task, _arguments: dict[str, Any]) -> str:
    raise MCPError(code=INTERNAL_ERROR, message="The job broke down")


async def _confirm_delete(task: Task, arguments: dict[str, Any]) -> str:
    answers = await task.ask({"confirm": form(f"Delete {arguments.get('filename')}?", confirm="boolean")})
    return f"Deleted: {answers['confirm'].get('action')}"


async def _multi_input(task: Task, _arguments: dict[str, Any]) -> str:
    asked = {"first": form("First name?", name="string"), "second": form("Second name?", name="string")}
    return f"{len(await task.ask(asked))} answers"


async def _with_task(_task: Task, arguments: dict[str, Any]) -> str:
    await asyncio.sleep(0.1)
    return f"Done for {arguments['user_name']}."


JOBS: dict[str, Job] = {
    "slow_compute": _slow_compute,
    "failing_job": _failing_job,
    "protocol_error_job": _protocol_error_job,
    "confirm_delete": _confirm_delete,
    "multi_input": _multi_input,
    "test_tool_with_task": _with_task,
}
ONLY_AS_TASK = JOBS.keys() - {"slow_compute"}


class Tasks(Extension):
    """The extension: tools of `JOBS` become tasks for a client that has declared it."""

    identifier = IDENTIFIER

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}

    def methods(self) -> list[MethodBinding]:
        """What a client can ask about a task."""
        return [
            MethodBinding("tasks/get", TaskParams, self._get, MODERN),
            MethodBinding("tasks/update", UpdateParams, self._update, MODERN),
            MethodBinding("tasks/cancel", TaskParams, self._cancel, MODERN),
        ]

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Start a task instead of calling the tool."""
        if params.name not in JOBS or ctx.protocol_version not in MODERN:
            return await call_next(ctx)
        if params.name in ONLY_AS_TASK:
            require_client_extension(ctx, IDENTIFIER)
        elif not _declared(ctx) or not (params.arguments or {}).get("seconds"):
            return await call_next(ctx)
        arguments = dict(params.arguments or {})
        if params.name == "test_tool_with_task":
            name = _entered(params.input_responses, "user_name", "name")
            if name is None:
                return InputRequiredResult(input_requests={"user_name": form("What is your name?", name="string")})
            arguments["user_name"] = name
        task = Task()
        self._tasks[task.id] = task
        task.work = asyncio.create_task(_run(task, JOBS[params.name], arguments))
        return {"resultType": "task", **task.wire()}

    async def _get(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> HandlerResult:
        return self._find(ctx, params).detailed()

    async def _update(self, ctx: ServerRequestContext[Any, Any], params: UpdateParams) -> HandlerResult:
        self._find(ctx, params).answer(params.input_responses)
        return {"resultType": "complete"}

    async def _cancel(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> HandlerResult:
        task = self._find(ctx, params)
        if task.status in ("working", "input_required"):
            task.settle("cancelled")
            if task.work is not None:
                task.work.cancel()
        return {"resultType": "complete"}

    def _find(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> Task:
        require_client_extension(ctx, IDENTIFIER)
        named = (getattr(ctx.request, "headers", None) or {}).get("mcp-name")
        if named != params.task_id:
            raise MCPError(code=HEADER_MISMATCH, message="Mcp-Name header does not match params.taskId")
        task = self._tasks.get(params.task_id)
        if task is None:
            raise MCPError(code=INVALID_PARAMS, message="Unknown task")
        return task


def add_task_tools(server: MCPServer) -> None:
    """Register the tools: what a client without the extension can call, and what only the extension can run."""

    @server.tool(structured_output=False)
    def greet(name: str) -> str:
        """Greets at once."""
        return f"Hello, {name}!"

    @server.tool(structured_output=False)
    async def slow_compute(seconds: float = 0, label: str = "") -> str:
        """Takes some seconds."""
        await asyncio.sleep(seconds)
        return f"Computed {label}."

    @server.tool(structured_output=False)
    def failing_job() -> str:
        """Fails after a while; runs as a task only."""
        raise ToolError("The job failed")

    @server.tool(structured_output=False)
    def protocol_error_job() -> str:
        """Breaks down; runs as a task only."""
        raise ToolError("The job broke down")

    @server.tool(structured_output=False)
    def confirm_delete(filename: str) -> str:
        """Asks before it deletes; runs as a task only."""
        raise ToolError(f"{filename} is not deleted without asking")

    @server.tool(structured_output=False)
    def multi_input() -> str:
        """Asks two things at once; runs as a task only."""
        raise ToolError("There is nobody to ask")

    @server.tool(structured_output=False)
    def test_tool_with_task() -> str:
        """Asks for a name and then goes on as a task; runs as a task only."""
        raise ToolError("There is nobody to ask")


async def _run(task: Task, job: Job, arguments: dict[str, Any]) -> None:
    try:
        text = await job(task, arguments)
    except ToolError as error:
        task.settle("completed", result=_tool_result(str(error), failed=True))
    except MCPError as error:
        task.settle("failed", error={"code": error.error.code, "message": error.error.message})
    else:
        task.settle("completed", result=_tool_result(text))


def _tool_result(text: str, *, failed: bool = False) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}], "isError": failed}


def _declared(ctx: ServerRequestContext[Any, Any]) -> bool:
    capabilities = ctx.session.client_capabilities
    return capabilities is not None and IDENTIFIER in (capabilities.extensions or {})


def _entered(responses: InputResponses | None, key: str, name: str) -> Any:
    content = getattr((responses or {}).get(key), "content", None)
    return content.get(name) if isinstance(content, dict) else None


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
