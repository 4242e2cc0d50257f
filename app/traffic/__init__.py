"""Traffic: what the workers report about the calls through the proxies.

Path of a batch: `fleet` hands the records of a worker to `ingest.py`, which plans every row without I/O
(`rollup.py`, `verdict.py`, `app/alerts/recording.py`), writes calls, their sealed texts (`captured.py`), roll-ups and
alerts in one transaction, and only after the commit feeds the rate meter and the bus. The worker forgets a batch when
`ingest` has returned; a batch that is delivered twice changes nothing, because a call is counted only when its row is new.
"""
