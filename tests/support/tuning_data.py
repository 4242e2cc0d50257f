"""Where the texts lie that the rules are tuned on: beside the checkout, and only on the development machine and in CI."""

from pathlib import Path


def _tuning_data() -> Path:
    """The folder beside this checkout or, when this is the compiled copy within a checkout, beside that one; it may not exist."""
    ancestors = Path(__file__).resolve().parents
    candidates = [ancestor / "shared" / "data" for ancestor in ancestors]
    return next((candidate for candidate in candidates if candidate.is_dir()), candidates[3])


TUNING_DATA = _tuning_data()
