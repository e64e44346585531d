"""The ingest service's consumers and producers."""
