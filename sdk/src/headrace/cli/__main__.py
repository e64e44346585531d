"""``python -m headrace.cli``."""

from headrace.cli.program import main

if __name__ == "__main__":
    main()
