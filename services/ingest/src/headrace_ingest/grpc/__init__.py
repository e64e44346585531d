"""gRPC servicers of the ingest service."""
