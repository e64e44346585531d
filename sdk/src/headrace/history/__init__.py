"""Reading a loop's logs again: recomputing what was logged."""
