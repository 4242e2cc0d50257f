"""LLM APIs, passed through natively. Path of a call:

`endpoint.serve` finds the `surface` (which API, by method and path; what is not listed is refused), reads and parses the
body, `request_texts` names every text that can reach the model, the pipeline inspects them and masks what must not go on
(`conversations` says which calls belong together), and the canonical body goes upstream with the upstream's credential. A
JSON answer is read whole and inspected by `response_texts`, redacted and restored; a stream is relayed by `relay`, which
has a `framing` cut it into events, asks the surface's interpreter (`streams` and the `…_stream` modules) what each
event says, passes each delta through `proxies.answer_texts`, and ends a blocked stream in that API's own error form
(`errors`).

`realtime` carries connections on which events come from both sides; it shares the inspection of answers.

Field maps: requirements a2a-and-llm §3.1.1 (requests), §3.1.2 (answers), §3.3 (errors).
"""
