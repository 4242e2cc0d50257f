"""The scanner's judgement: from facts about an MCP server to findings (detection.md §5.2, SYP-SCAN-1..7). Pure.

`facts` is what a prober gathers, `checks` the table of everything that is looked for, `finding` what is said about it.
`assess` runs all checks: `reach`, `names`, `declarations` and `behaviour` look at the facts, and the detection rules read
every string of the server's description (`texts`). `sarif` writes a report that development platforms read.
"""

from rules.scanning.assess import Assessment, assess, differences
from rules.scanning.checks import CHECKS, METADATA_PACKS, RESPONSE_PACKS
from rules.scanning.facts import ServerFacts
from rules.scanning.finding import ScanFinding

__all__ = [
    "CHECKS",
    "METADATA_PACKS",
    "RESPONSE_PACKS",
    "Assessment",
    "ScanFinding",
    "ServerFacts",
    "assess",
    "differences",
]
