"""The scorer's gRPC handlers: thin layers over `headrace_scorer.scorer`."""
