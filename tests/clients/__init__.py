"""The programs of `docs/topics.md`, and a loop that they write to and read from."""
