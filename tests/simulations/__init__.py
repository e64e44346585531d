"""Long runs whose results are shown, and compared with the oracle; the suite plays small ones."""
