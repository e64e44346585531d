"""Run the compose file through its ordinary situations, in real containers.

Example
-------
    python -m tests.stacks --no-build
"""

from __future__ import annotations

import argparse
import sys

from tests.stacks import compose


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.stacks", description=compose.__doc__)
    parser.add_argument("--no-build", action="store_true", help="take the images as they are")
    arguments = parser.parse_args()
    return compose.run(build=not arguments.no_build)


if __name__ == "__main__":
    sys.exit(main())
