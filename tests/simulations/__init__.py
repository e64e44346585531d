"""Long runs that are shown, not tested each time."""
