"""Services with one built-in fault, each run in place of the real one: the suite has to notice.

A module here patches one thing, then runs the service's own `main`. Production code does not know about it.
"""
