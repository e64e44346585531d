"""What the oracle says of a run, whatever happened in it."""

from __future__ import annotations

from tests.crash.site import Site
from tests.life.recorder import Recorder
from tests.life.verdict import verdict


def against_oracle(site: Site) -> list[str]:
    """How the logs of a run that has come to its end differ from what its streams say."""
    recorder = Recorder(site.loop, site.namespace)
    recorder.use(site.grounds.client)
    recorder.read()
    return [f"oracle: {own}" for own in verdict(site.loop, recorder).differences]
