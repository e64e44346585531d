"""The demo: a year of flights, as fast as the loop can process it."""

from __future__ import annotations

import shutil
import signal
import sys
import time
from pathlib import Path

from headrace.demo import preparation
from headrace.demo.source_tables import tables_folder
from headrace.embedded.locks import is_held
from headrace.errors import Unavailable

LOOP = Path(__file__).with_name("loop.py")
DATA = Path(".headrace/demo").absolute()


def run(events: int | None) -> None:
    """Run the demo over the first events of the year, or all of them.

    Raises
    ------
    Unavailable
        A demo is already running here, the flights are not installed, or a service does not come up.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    if is_held(DATA / "up.lock"):
        raise Unavailable(f"a demo is running already, on {DATA}")
    tables_folder()
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir(parents=True, mode=0o700)
    began = time.monotonic()
    print("starting a broker, a store and four services, and preparing the flights of 2013 ...", file=sys.stderr)
    prepared = preparation.begin(DATA / "events", events)
    # Imported only now: it takes half a second, in which another core prepares the events.
    from headrace.demo import session

    session.run(LOOP, DATA, prepared, began)
