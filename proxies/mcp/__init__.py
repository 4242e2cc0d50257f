"""MCP over Streamable HTTP, both eras, the same era on both legs. Path of a message:

1. The transport has refused ambiguous framing and repeated fields (G-06). `endpoint.serve` routes by path and method,
   checks media types (G-03, G-05), reads the body once through `strict_json` (G-04) and asks `eras` which era the
   request belongs to (M-01).
2. `legacy` (2024-11-05 to 2025-11-25: sessions, GET and DELETE, batches) or `modern` (2026-07-28: one self-contained
   request, header and body must agree) validates it. `messages` parses JSON-RPC, `methods` knows what may cross in which
   direction; what is not listed there does not cross (I-30).
3. `texts` collects every string that could carry content (I-01..I-25); the pipeline inspects them.
4. `upstream` sends the re-serialised message with our own headers, session id and credential (G-07).
5. A JSON answer goes through `results`; an SSE answer through `relay`, which shows each message to a gate (`gates`):
   the gate inspects it, drops what may not pass, and knows when the last response has come. Both directions of every
   message are parsed and written anew (D1); an upstream's error bodies are never relayed as they are (I-13).
6. A refusal becomes a JSON-RPC error in the words of §2.10 (`refusals`, `endpoint.render_refusal`).

What outlives a request is in `sessions`, `control` and `drain`: worker memory, every part of it bounded. What of a server may
pass is decided by `control`.
"""
