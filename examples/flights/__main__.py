"""``python -m examples.flights``: see `examples.flights.demo`."""

import sys

from examples.flights.demo import main

sys.exit(main(sys.argv[1:]))
