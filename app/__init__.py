"""The console: the control plane of Ostiary.

Path of a change (operator click → proxies):

1. `http/` and `security/` decide whether the request may come in at all: exact Host, Origin, session or token, role.
2. A feature's `api.py` or `pages.py` parses it into a struct and calls the feature's `service.py`.
3. The service makes every decision inside one unit of work (`database/unit_of_work.py`), the `repository.py` beside it
   makes every query, and `audit/` adds its entry to the same transaction.
4. After the commit, the fleet builds a new snapshot and hands it to the workers; the bus tells the open pages.

`application.py` is the only place where the parts are put together, `lifespan.py` starts and stops them in order.
"""
