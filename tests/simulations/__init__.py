"""Long simulations of whole situations, compared with the oracle; the suite plays small ones."""
