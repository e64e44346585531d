"""Tests that need another stack for minutes: run by `make test-stacks`, before a release."""
