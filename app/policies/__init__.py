"""Policies and rule packs: what is enforced, what a change would do, and what became of it.

Those that come with the program are files (`rules/packs/*.json`, `rules/policies/*.json`) and cannot be changed; those
made here are rows with versions (`models`). `library` answers for both without waiting. A change goes page or API →
`service` (draft, check, publish, roll back) → `repository`, with its audit entry in one transaction, then to the
library and the fleet. `documents` and `diff` are the pure part of it, `builder` turns the form into a document.

Trying out: `evaluation` judges a text or a whole request as the workers would, `replay` does it with recorded calls,
both on the `workbench`, away from the event loop. `feedback` keeps what people call false positives.
"""
