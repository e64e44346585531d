"""New York's flights of 2013 as a loop, for `headrace demo`: will this flight arrive late? This is internal."""
