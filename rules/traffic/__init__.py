"""Traffic analysis: what no single message shows (inventory b.8).

`Analyst.observe` takes one finished call after the other. It keeps a bounded `Profile` for each caller and proxy, lets the
detectors look at it, and returns findings: flagged for a person to look at, never a reason to refuse anything. A detector
that has spoken about a caller stays silent about that caller for an hour.

`observation` is what a call says, `sequences` looks for steps in an order, `behaviour` at pace, shares and sizes, `content`
at entropy, `analyst` joins them.
"""

from rules.traffic.analyst import PACK, RULES, Analyst
from rules.traffic.observation import Observation

__all__ = ["PACK", "RULES", "Analyst", "Observation"]
