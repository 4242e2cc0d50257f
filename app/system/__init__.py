"""The system itself: health, readiness, metrics, what is running and where."""
