"""The learner service's consumers and producers."""
