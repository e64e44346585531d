"""Long simulations of whole situations, each compared with the oracle: too long for the suite, which plays small ones."""
