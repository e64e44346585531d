"""headrace: models that learn from a stream as it arrives.

The names of this package are what a loop file imports; see ``docs/define-a-loop.md``.
"""
