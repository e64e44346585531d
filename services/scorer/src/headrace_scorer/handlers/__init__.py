"""What the scorer answers over gRPC: thin shells around `headrace_scorer.scorer`."""
