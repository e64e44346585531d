"""gRPC servicers of the scorer service."""
