"""Masking and restoring as pure functions and small state machines; no I/O, no protocol (requirements a2a-and-llm §5).

Towards the upstream: `spans` settles which parts of a text are replaced, `session` keeps what was replaced by which
placeholder (`placeholders` is their grammar) for one caller and one conversation.

Back: `unmask` puts the values in the place of the placeholders, except where `links` says that this would send them
to a third party. `redact` replaces what rules found in an answer. Both take a text in any pieces and give what they
would give for the whole: `unmask` waits only where a placeholder may have begun, `redact` only where `pending` says
that a rule may still match. `json_strings` applies either inside the strings of a JSON text, such as the arguments of
a tool call that arrive in pieces.
"""
