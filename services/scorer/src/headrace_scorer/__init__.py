"""headrace scorer: answers requests with what a model predicts."""
