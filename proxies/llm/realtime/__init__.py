"""OpenAI Realtime: one WebSocket on which client and model exchange events, every event a JSON object (requirements LLM-RT).

`endpoint.serve` checks the opening handshake, `upstream` opens the provider's side with the provider's credential, `session`
carries events both ways. What the client says (`client_events`) is judged and masked in the `turns` that a response ends;
what a response says is read by `server_stream` and inspected, redacted and restored by `answers`, with the machinery of every
other stream. A turn and its response are one call of the records; the connection is one of its own.
"""
