"""The one place where the version is written (CalVer: year.month.patch)."""

__version__ = "2026.11.0"
