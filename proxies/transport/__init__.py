"""All the network I/O of the data plane: our own thin HTTP/1.1 server and client on llhttp (httptools).

The way of a call through this package:

    http1_server.HTTPListener accepts (tls_accept on a TLS port)  →  server_connection.ServerConnection reads bytes
      →  guard.parse_request_head (pure: strict framing, RFC 9112)  →  chunked.ChunkedDecoder for the body
      →  server_messages.Request and Response go to the handler
    pool.UpstreamPool.request  →  dialler (directly, or through an HTTP proxy: tunnel)  →  egress (which addresses may
      be dialled)  →  client_connection.UpstreamConnection
      →  response_guard.parse_response_head (pure)  →  upstream_response.UpstreamResponse, whole or as a stream
      →  sse.SSEParser, lines.LineSplitter or event_stream.FrameParser for streams, content_coding.decode_body for compressed ones

Pure modules (no socket, no clock): guard, response_guard, headers, via, chunked, sse, lines, event_stream, content_coding,
limits, errors; which addresses may be dialled is decided by `proxies.egress_policy`. Everything that waits has a deadline,
everything that buffers has a bound (`contract.Limits` per proxy, `limits.Bounds` for the protocol itself).
"""
