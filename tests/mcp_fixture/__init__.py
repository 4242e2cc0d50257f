"""Our MCP server that offers everything the official conformance suite asks for, in all four revisions of both eras.

`python -m tests.mcp_fixture http [PORT]` serves Streamable HTTP at /mcp on loopback and prints its port;
`python -m tests.mcp_fixture stdio` serves standard input and output. It is the oracle for the gateway: what the suite says
about this server directly is what it must say through the gateway.
"""
