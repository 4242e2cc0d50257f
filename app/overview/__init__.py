"""The overview: what an operator wants to know first, put together from the other features. It owns no table."""
