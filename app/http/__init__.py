"""What every page and endpoint shares: the envelope, errors, headers, the event bus."""
