"""Detection and policy as pure functions, usable by the proxies, the console and the command line.

How a verdict is made:

1. `packs` decodes and `lint` checks the rule packs (JSON); a pack with a problem is refused whole, with file, JSON
   pointer and reason.
2. `compiler` numbers every distinct pattern and builds the Hyperscan databases of a set of packs, cached on disk by
   content: one for each group of targets that occur together, so that a prompt pays only for the rules that read
   prompts, and one for each target that streams. Workers load them and never compile.
3. `engine.Ruleset.scan` joins the texts of a message by group (`buffer`) and asks Hyperscan (`hyperscan_database`)
   once a group which patterns occur anywhere. That answer may be too generous, never too small; for most messages it
   is empty. `Ruleset.recall` does so only for texts that a principal has not sent or received lately (`seen_texts`).
4. For a rule whose patterns all occur (`evaluator`), `matching` finds the exact places with RE2 (`patterns`), text by
   text, and decides distance, absence and count on offsets; `validators` judge the captured value. Every step is
   linear in the length of the text.
5. `views` says what else a text may be read as, only where something in it calls for it: `normalize` (invisible
   characters, look-alikes), `decoding` (base64, escapes, …), `disguises` (rot13, reversed, …). `derived_scan` lets
   the same rules read them, level by level, and maps the hits back to the raw text (`derived_view`).
6. `redact` makes the evidence: a short excerpt with secrets and personal values masked.
7. `verdicts.decide` turns all findings of a message into one `Verdict`.

`stream` does steps 3, 4 and 6 for a text that arrives in pieces. `pinning` compares what MCP servers say about
themselves with what was approved.
"""
