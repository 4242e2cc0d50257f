"""The scanner of MCP servers: what is weak about one, before agents find out (SYP-SCAN-1..7).

The prober (`proxies.scan`) gathers facts, in a worker for the console and in its own process for `ostiary scan`;
`rules.scanning` judges them. Here they become a `result`, kept and shown (`service`, `api`, `pages`), a `report`, alerts,
and tools that are refused (`blocking`).
"""
