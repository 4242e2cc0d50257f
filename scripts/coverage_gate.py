"""Fail when the tests reach too little: rules/ and proxies/ 95 %, app/ 85 %, with branches."""

import subprocess
import sys

FLOORS = {"rules/*": 95, "proxies/*": 95, "app/*": 85}


def main() -> int:
    failed = 0
    for pattern, floor in FLOORS.items():
        print(f"\ncoverage of {pattern} (at least {floor} %)", flush=True)
        command = [sys.executable, "-m", "coverage", "report", "--include", pattern, "--fail-under", str(floor)]
        failed |= subprocess.run(command, check=False).returncode
    return failed


if __name__ == "__main__":
    sys.exit(main())
