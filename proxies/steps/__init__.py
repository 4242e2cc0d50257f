"""The steps that every call walks, one module each, in the order in which `pipeline` runs them:
origin, authenticate, authorize, inspect, record (the record itself is built by `Exchange.record`)."""
