"""How MCP servers are reached. To the rest of the code every one of them is Streamable HTTP (`interface.Upstream`).

`http` is just that. Servers that are processes, HTTP+SSE endpoints or WebSockets are `Channel`s that carry one message after
the other; `conversations.ChannelUpstream` makes Streamable HTTP of any of them.
"""
