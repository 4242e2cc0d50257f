"""Clients that do not speak Streamable HTTP: HTTP+SSE of 2024-11-05 (`sse`) and WebSocket (`websocket`).

Inside, every MCP client is a Streamable HTTP client. `client.CarriedClient` is the one that these clients do not have:
for each of their messages it makes the request that such a client would have made, with the session id and the fields
that belong to it, and gives what comes back to the carrier. So each message is authenticated, judged and recorded as a
call of its own, and no transport has a way around the pipeline.
"""
