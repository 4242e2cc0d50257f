"""Which programs proxies may start as MCP servers: a list that only administrators edit."""
