"""What needs a foreign stack for minutes: run by `make test-stacks`, before a release."""
