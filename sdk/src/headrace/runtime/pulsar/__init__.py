"""Pulsar: topics, positions, consuming in batches, producing, dead letters; internal."""
