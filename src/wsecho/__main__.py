"""The console script `wsecho` and `python -m wsecho`: both are one call of wsecho.app.commands."""

import sys

from wsecho.app import commands


def main() -> int:
    """Run the command line of this process and return its exit status."""
    return commands.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
