"""Run the feature service: ``python -m headrace_feature``."""

from __future__ import annotations

from headrace.runtime import service
from headrace_feature.app import PROGRAM


def main() -> None:
    """Run the service until SIGTERM or SIGINT."""
    service.run(PROGRAM)


if __name__ == "__main__":
    main()
