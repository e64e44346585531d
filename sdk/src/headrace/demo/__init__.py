"""New York's flights of 2013 as a loop that `headrace demo` runs: will this flight arrive late? This package is internal."""
