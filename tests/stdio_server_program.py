"""An MCP server on standard streams whose tools are what can go wrong; no SDK, so that it can break every rule.

python stdio_server_program.py [BEHAVIOUR ...]: `modern` (answers server/discover), `crash`, `hang`, `deaf` (ignores the end of
its input and SIGTERM), `silent` (leaves server/discover unanswered).
"""

import json
import os
import signal
import subprocess
import sys
import time

BEHAVIOURS = set(sys.argv[1:])
DISCOVERED = {
    "resultType": "complete",
    "supportedVersions": ["2026-07-28"],
    "capabilities": {"tools": {"listChanged": True}},
    "serverInfo": {"name": "script", "version": "1"},
    "ttlMs": 0,
    "cacheScope": "private",
}
TOOLS = ("echo", "who", "descriptors", "noise", "child")
held: list[dict] = []
seen: list[dict] = []


def send(message: dict) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def say(request: dict, text: str) -> None:
    send({"id": request["id"], "result": {"resultType": "complete", "content": [{"type": "text", "text": text}]}})


def notify(method: str, **params) -> None:
    send({"method": method, "params": params})


def call(request: dict) -> None:
    name, arguments = request["params"]["name"], request["params"].get("arguments", {})
    token = request["params"].get("_meta", {}).get("progressToken")
    if name == "echo":
        say(request, arguments["text"])
    elif name == "who":
        say(
            request,
            json.dumps({"pid": os.getpid(), "group": os.getpgrp(), "cwd": os.getcwd(), "env": dict(os.environ)}),
        )
    elif name == "descriptors":
        opened = set(os.listdir("/proc/self/fd"))
        say(request, json.dumps(sorted(number for number in opened if os.path.exists(f"/proc/self/fd/{number}"))))
    elif name == "seen":
        say(request, json.dumps(seen))
    elif name == "correlators":
        say(request, json.dumps([request["id"], token]))
    elif name == "hold":
        held.append(request)
        notify("notifications/progress", progressToken=token, progress=1)
    elif name == "release":
        for one in reversed(held):
            say(one, one["params"]["arguments"]["text"])
        held.clear()
        say(request, "released")
    elif name == "late":
        say(request, "done")
        notify("notifications/progress", progressToken=token, progress=99)
        say(request, "done twice")
    elif name == "garbage":
        for number in range(arguments["lines"]):
            print(f"not a message {number}", flush=True)
        say(request, "sorry")
    elif name == "long":
        sys.stdout.write("x" * arguments["bytes"] + "\n")
        sys.stdout.flush()
    elif name == "die":
        sys.stderr.write("about to die with token=verysecretvalue\n")
        sys.stderr.flush()
        os._exit(3)
    elif name == "hang":
        pass
    elif name == "ask":
        send({"id": "q-1", "method": "roots/list"})
        held.append(request)
    elif name == "announce":
        notify("notifications/tools/list_changed")
        say(request, "announced")
    elif name == "later":
        say(request, "soon")
        notify("notifications/tools/list_changed")
    elif name == "noise":
        for line in arguments["lines"]:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()
        say(request, "noted")
    elif name == "child":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        say(request, str(child.pid))


def answer(message: dict) -> None:
    seen.append(message)
    method = message.get("method")
    if method == "initialize":
        result = {"protocolVersion": message["params"]["protocolVersion"], "capabilities": {"tools": {}}}
        send({"id": message["id"], "result": {**result, "serverInfo": {"name": "script", "version": "1"}}})
    elif method == "server/discover" and "silent" not in BEHAVIOURS:
        if "modern" in BEHAVIOURS:
            send({"id": message["id"], "result": DISCOVERED})
        else:
            send({"id": message["id"], "error": {"code": -32601, "message": "Method not found"}})
    elif method == "subscriptions/listen":
        tagged = {"io.modelcontextprotocol/subscriptionId": message["id"]}
        notify("notifications/subscriptions/acknowledged", notifications={"toolsListChanged": True}, _meta=tagged)
        notify("notifications/tools/list_changed", _meta=tagged)
    elif method == "tools/call":
        call(message)
    elif method == "tools/list":
        tools = [{"name": name, "description": f"Does {name}.", "inputSchema": {"type": "object"}} for name in TOOLS]
        listed = {"tools": tools, "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
        send({"id": message["id"], "result": listed})
    elif "id" in message and method is None:
        say(held.pop(), json.dumps(message["result"] if "result" in message else message["error"]))
    elif "id" in message and method != "server/discover":
        send({"id": message["id"], "result": {}})


if "crash" in BEHAVIOURS:
    sys.stderr.write("cannot find my configuration\n")
    sys.exit(7)
if "hang" in BEHAVIOURS:
    time.sleep(600)
if "deaf" in BEHAVIOURS:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
for line in sys.stdin:
    answer(json.loads(line))
while "deaf" in BEHAVIOURS:
    time.sleep(1)
