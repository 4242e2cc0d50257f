"""Alerts: findings that a person should look at, and what people decided about them.

A worker's record becomes alerts in `recording.py`, in the same transaction as the call itself: once per call and rule.
`workflow.py` says which status may follow which; `service.py` applies it, with an audit entry beside every change.
"""
