"""Random ordinary lives of a loop, each compared with the oracle."""
