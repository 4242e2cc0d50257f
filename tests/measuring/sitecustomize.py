"""Python imports this by itself in every process that has this directory in its path: `scripts/test` does so in CI."""

import os

if "COVERAGE_MARKS" in os.environ:
    import marked_modules

    marked_modules.start(os.environ["COVERAGE_MARKS"])
