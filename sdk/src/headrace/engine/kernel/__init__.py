"""Fold, assemble and join: pure computation, the same online, offline and in the scorer; internal."""
