"""headrace learner: test, then train, over the examples log."""
