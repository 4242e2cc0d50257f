"""The official MCP conformance suite, run against our fixture server directly and through the gateway: `scripts/conformance`."""
