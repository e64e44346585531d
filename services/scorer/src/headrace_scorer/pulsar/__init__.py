"""The scorer service's consumers and producers."""
