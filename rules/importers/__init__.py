"""From policies of other products to ours, with a report of everything that could not be carried over. Pure.

`importing.import_policy` reads the bytes (`reading`: JSON, or YAML without anchors), tells the dialect by its fields and hands
it to one of the readers: `pattern_lists` (rules with patterns, blocked and redact patterns, variants), `conditional`
(rules with `match` and `action`), or takes it as it is when it is our own export. Readers take fields through
`report.Fields`, which remembers what nobody asked for: that is how the report is complete by construction.
A pattern is rewritten to the syntax of our engines by `patterns` or, where that would change its meaning, dropped
and reported. Detections need examples; `examples` makes one that the pattern provably hits.
"""
