"""Access: the API keys by which clients of the proxies are known. Only digests are kept; a key is shown once."""
