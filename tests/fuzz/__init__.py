"""Feed damaged bytes to every decoder of bytes from outside, in a child process with limits on memory and time.

A decoder may return a value or raise its typed error. Anything else is a finding: another exception, a signal, more
memory than its limit, a case that takes too long.
"""
