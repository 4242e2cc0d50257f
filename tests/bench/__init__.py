"""Measures what DESIGN §11 promises, and prints it beside the bar (`scripts/bench`).

Three processes of ours on loopback: `upstream` answers at once, a real worker started by the console's own `Fleet`
(`stand`), and `load`, which sends. Each figure of the gateway stands beside the direct call, and beside nginx as a plain
proxy where it is installed, in the same run. CPU per request is the worker's own, read from /proc; it does not depend on
how fast the load generator is. Nothing here asserts a time: a bench reports.
"""
