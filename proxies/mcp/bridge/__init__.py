"""Between the eras (E-05): a client of one era in front of a server of the other, where the proxy allows it.

`upstream.BridgeUpstream` is an `Upstream` around the upstream of the proxy. What client and server both speak goes through
it unchanged; what only one of them speaks is translated:

* `legacy_client` presents a modern server as a legacy one: sessions, server requests on the stream of the POST for
  `input_required`, the session's stream from `subscriptions/listen`.
* `modern_client` presents a legacy server as a modern one: a session for each principal, `input_required` for server
  requests, the request parked behind a one-time `requestState`, subscriptions from the session's stream.
* `translate` has the decisions without I/O, `leg` the way to the server, `parked` the requests that wait for input.

Rules, policies and tool control see what the client sees: they run before the bridge on the way in, after it on the way
out. Nothing is inspected less because it was translated.
"""
