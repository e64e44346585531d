"""The composition root of the feature service."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from headrace.runtime.arrow import convert_without_pandas
from headrace.runtime.readiness import start_when_reachable
from headrace.runtime.redis import connection as store_connection
from headrace.runtime.redis.definitions import DefinitionStore
from headrace.runtime.redis.status import PERIOD, QUIET, ServiceStatus
from headrace.runtime.service import App, Endpoint, Program, Service
from headrace_feature.decoder import warm
from headrace_feature.lane import Lane
from headrace_feature.pulsar.feature_lanes import FeatureLanes
from headrace_feature.settings import FeatureSettings

if TYPE_CHECKING:
    from headrace_feature.faust_app import FaustApp


class FeatureApp(App):
    """The lanes of one process, run on Faust."""

    def __init__(self, service: Service[FeatureSettings]) -> None:
        convert_without_pandas()
        self._service = service
        self._store = store_connection.connect(service.settings.redis_url)
        self._lanes: FeatureLanes | None = None
        self._faust: FaustApp | None = None

    @property
    def endpoint(self) -> Endpoint:
        """No service: the server answers health checks alone."""
        return Endpoint()

    async def start(self) -> None:
        """Build the lanes once the broker and the store answer, and run them."""
        # Faust reads the process's arguments when it is imported, so it is imported after they are parsed.
        from headrace_feature.faust_app import FaustApp, Routine

        service = self._service
        # Beside what follows, which mostly waits.
        threading.Thread(target=warm, args=(service.loop,), name="warm", daemon=True).start()
        built = await start_when_reachable(service.dependencies, self._build, service.stopping)
        if built is None:
            return
        self._lanes, lanes = built
        for lane in lanes:
            lane.on_work(service.pace.wake)
        routines = [
            Routine(self._lanes.acknowledge, 0.5, 5.0),
            Routine(self._lanes.campaign, 1.0, 1.0),
            Routine(self._lanes.follow_takeovers, PERIOD, QUIET),
        ]
        idle, web_port = service.loop.idle / 1e6, service.settings.web_port
        self._faust = FaustApp(lanes, idle, routines, failed=service.fail, web_port=web_port)
        await self._faust.start()

    def report(self, status: ServiceStatus) -> None:
        """Report what this process owns, once it has started."""
        if self._lanes is not None:
            self._lanes.report(status)

    async def stop(self) -> None:
        """Stop Faust, acknowledge a last time and release the leases."""
        # In every case: a process cannot end before Faust's tasks are stopped.
        if self._faust is not None:
            await self._faust.stop()
        if self._lanes is not None:
            await asyncio.to_thread(self._lanes.close)

    def join(self) -> None:
        """Wait for the readers: closing the broker's client has unblocked them."""
        if self._faust is not None:
            self._faust.join()

    def _build(self) -> tuple[FeatureLanes, list[Lane]]:
        service = self._service
        definitions = DefinitionStore(self._store, service.loop.name)
        definitions.refuse_older()
        result = FeatureLanes(
            service.settings, service.loop, client=service.client, store=self._store, heartbeat=service.heartbeat
        )
        with store_connection.store_errors():
            lanes = result.lanes()
            result.campaign()
            definitions.write(service.loop)
        return result, lanes


PROGRAM = Program(
    name="feature",
    description="Fold events into rows, assemble vectors, and join them with their labels.",
    settings=FeatureSettings,
    app=FeatureApp,
    options=("role",),
)
