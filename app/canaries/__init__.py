"""Canary tokens: planted texts and where they may be seen.

`service` makes a value or takes one, seals it with the vault and rolls it out; the workers look for it
(`rules.canaries`) and its sightings arrive as alerts with the rule `CANARY-…`. The value is shown when it is made and
on request, which is audited: whoever plants it has to know it.
"""
