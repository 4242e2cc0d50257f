"""Proxies as the console sees them, and the workers that serve them.

Path of a change: `service.py` commits it, `configuration.py` resolves the database into a `Configuration`,
`supervisor.py` asks `reconcile.py` (pure) what to do, `ports.py` binds and frees listening sockets, `channel.py` passes
them on with the `Snapshot` that `snapshot.py` (pure) built, and the workers' answers become a `ProxyStatus` by way of
`state.py` (pure).

Path of an event: worker → `channel.py` → `intake.py` → the ingest function (a committed transaction) → acknowledgement.
What a dead worker could not deliver comes back through `spool.py`.
"""
