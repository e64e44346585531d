"""headrace scorer: answers what a model predicts."""
