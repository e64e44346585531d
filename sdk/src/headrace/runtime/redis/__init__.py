"""Redis: rows, waiting pairs, fences and the status of services; internal."""
