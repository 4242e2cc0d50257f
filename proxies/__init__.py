"""The data plane. Path of a call through a proxy:

1. `transport/http1_server` accepts, guards the framing and applies limits; one `Request` and one `Response` per call.
2. `dispatch` makes the `Exchange` (who, what, where, findings, verdict, timings) and admits it: Host and Origin,
   credential, right to use this proxy (`steps/`).
3. The endpoint of the proxy's protocol (`llm/endpoint`, `mcp/endpoint`) parses the body once (`strict_json`), names the
   operation and collects every text that can reach the other side.
4. `pipeline.inspect_request` scans those texts; a block raises `Refusal` and the upstream never sees the call.
5. The canonical re-serialisation of what was inspected goes out through `transport/pool` with the upstream's credential.
6. The answer comes back through `pipeline.inspect_response`, or chunk by chunk through `pipeline.ResponseInspector`.
7. `Exchange.record` turns the exchange into one `contract.CallRecord`, which `journal` hands to the channel; one with
   findings *before* the last byte of the answer leaves, so that a refusal a client saw survives the death of this process.

A worker has no database; the console tells it everything it needs in a `contract.Snapshot`.
"""
