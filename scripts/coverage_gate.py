"""Fail when the tests reach too little: rules/ and proxies/ 95 %, app/ 85 %, with branches.

`coverage_gate.py DIRECTORY` takes the marks that the tests' processes left there (tests/measuring) and writes
`.coverage`, from which `coverage html` makes pages.
"""

import subprocess
import sys
from pathlib import Path

import coverage

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "measuring"))

from marked_report import combine  # noqa: E402 - It lies where those processes find it.

FLOORS = {"rules/*": 95, "proxies/*": 95, "app/*": 85}


def main(directory: Path) -> int:
    data = coverage.CoverageData(str(ROOT / ".coverage"))
    data.erase()
    combine(directory, data, coverage.Coverage())
    data.write()
    failed = 0
    for pattern, floor in FLOORS.items():
        print(f"\ncoverage of {pattern} (at least {floor} %)", flush=True)
        command = [sys.executable, "-m", "coverage", "report", "--include", pattern, "--fail-under", str(floor)]
        failed |= subprocess.run(command, check=False).returncode
    return failed


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
