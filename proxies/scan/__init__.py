"""The prober: asks one MCP server what the scanner wants to know, and judges nothing.

`prober` goes through the topics of `rules.scanning.facts`, with a deadline and bounds for everything that comes back.
`conversation` speaks either era over a `link`: HTTP by the transport that serves the proxies (egress policy included), or
the standard streams of a process (`stdio_link`). Requests are passive: lists, and calls that cannot succeed. `active`
calls tools, and only where a person has confirmed that for this scan; tools that can destroy, run, pay or send are never
called. `run` puts it together, for the worker and for the command line.
"""
