"""gRPC servers: health, reflection, limits on calls, and the mapping of errors to statuses; internal."""
