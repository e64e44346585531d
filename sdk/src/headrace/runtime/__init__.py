"""The runtime of services: Pulsar, Redis, gRPC, settings, logs and their life cycle; internal."""
