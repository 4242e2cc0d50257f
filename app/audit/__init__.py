"""The audit log: append-only, every entry chained to the one before it with an HMAC, written in the change's own transaction."""
