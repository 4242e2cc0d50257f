"""Jobs: what the console does on its own from time to time. Definitions live here in code, nothing is stored.

`scheduler.py` runs them (each with a deadline, never twice at once) and watches that they run at all.
"""
