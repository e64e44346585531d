"""Services with one fault built in, each run in the place of the true one: the suite has to notice.

A module here patches one thing, then runs the service's own `main`. Production code knows nothing of it.
"""
