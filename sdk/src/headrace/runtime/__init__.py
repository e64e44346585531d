"""What services run on: Pulsar, Redis, gRPC, settings, logs and their life cycle; internal."""
