"""`python -m app` and the frozen executable start here. Nothing heavy is imported before the command is known."""

import sys


def main() -> None:
    """Run the command line; console and worker are the same program."""
    from app.cli import run

    raise SystemExit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
