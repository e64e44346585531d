"""headrace ingest: events over gRPC into their streams."""
