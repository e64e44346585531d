"""headrace feature: events into rows, vectors and examples."""
