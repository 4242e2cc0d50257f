"""Where the executable starts; the same file plays console and worker (DESIGN §1)."""

import sys

from app.__main__ import main

sys.exit(main())
