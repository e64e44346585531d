"""Benchmarks of headrace beside what users would combine themselves: ``make bench PEERS=1``.

Each folder of this package is one peer: its requirements, their lock file, and one small server file, which runs in an
environment of its own and imports nothing of headrace but the generated messages.
"""
