"""Ostiary as an MCP server: an assistant asks it about texts, servers and alerts.

`protocol` speaks both eras without I/O, `tools` says what is offered and what comes back, `console` answers from this
console, `local` without one. `api` is the address `/mcp` of the console; `command` is `ostiary mcp` over stdio.
"""
