"""The oracle's verdict on a run, whatever happened during it."""

from __future__ import annotations

from tests.crash.site import Site
from tests.life.recorder import Recorder
from tests.life.verdict import verdict


def against_oracle(site: Site) -> list[str]:
    """Return how the logs of a finished run differ from what its streams imply."""
    recorder = Recorder(site.loop, site.namespace)
    recorder.use(site.grounds.client)
    recorder.read()
    return [f"oracle: {difference}" for difference in verdict(site.loop, recorder).differences]
