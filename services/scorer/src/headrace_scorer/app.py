"""The composition root of the scorer."""

from __future__ import annotations

import asyncio
import gc

import structlog
import uvloop

from headrace.engine.kernel.assembly import Assembler
from headrace.runtime.arrow import convert_without_pandas
from headrace.runtime.clock import wall_clock
from headrace.runtime.pulsar.log_ends import entries_of
from headrace.runtime.redis.connection import connect_without_retries
from headrace.runtime.redis.scored import ScoredPositions
from headrace.runtime.redis.status import ServiceStatus
from headrace.runtime.service import App, Endpoint, Program, Service
from headrace_scorer.grpc.endpoint import endpoint
from headrace_scorer.pulsar.prediction_log import PredictionQueue, PredictionSender
from headrace_scorer.pulsar.stream_scoring import StreamScoring
from headrace_scorer.pulsar.version_reader import VersionReader
from headrace_scorer.rows import StoredRows
from headrace_scorer.scorer import Scorer
from headrace_scorer.settings import ScorerSettings
from headrace_scorer.status import Rebuild, ScoringProgress, report
from headrace_scorer.version_cache import VersionCache
from headrace_scorer.version_trial import VersionTrial
from headrace_scorer.versions import Versions

_log = structlog.get_logger()

#: Seconds that remain, when the service ends, for served predictions that still wait for the broker.
_GRACE = 5.0

#: Seconds that a scorer waits for the versions on the models topic before it listens: a scorer that replaces another
#: one must not refuse what the other answered.
_PATIENCE = 5.0


class ScorerApp(App):
    """The scorer of requests, and the threads that follow and write topics."""

    def __init__(self, service: Service[ScorerSettings]) -> None:
        convert_without_pandas()
        self._service = service
        settings, loop, topics, client = service.settings, service.loop, service.topics, service.client
        self._rows = StoredRows(settings.redis_url, settings.store_timeout)
        self._trial = VersionTrial()
        self._versions = Versions(
            loop, _log.info, lambda model: entries_of(client, topics.examples(model)), self._trial.try_version
        )
        self._progress = ScoringProgress(on_change=service.pace.wake)
        self._rebuild = Rebuild(settings.redis_url, loop)
        queue = PredictionQueue(settings.log_queue, settings.log_patience)
        self._scorer = Scorer(
            loop,
            self._versions,
            Assembler,
            self._rows,
            log=queue,
            clock=wall_clock,
            store_down=settings.store_down,
            max_in_flight=settings.max_in_flight,
            rebuilding=self._rebuild.is_under_way,
        )
        cache = VersionCache(settings.data / "versions")
        cache.save(self._versions.offer_cached(cache.load()))
        self._sender = PredictionSender(client, topics, queue, lambda count: self._progress.count(logged=count))
        self._reader = VersionReader(
            client,
            topics,
            self._versions,
            cache,
            on_change=service.pace.wake,
            on_caught_up=self._trial.start,
            failed=service.fail,
        )
        self._stream = StreamScoring(
            client,
            loop,
            topics,
            self._versions,
            instance=settings.instance,
            scored=ScoredPositions(connect_without_retries(settings.redis_url, settings.store_timeout), loop.name),
            reader=self._reader,
            progress=self._progress,
            failed=service.fail,
        )

    @property
    def endpoint(self) -> Endpoint:
        """The services that answer requests."""
        return endpoint(self._scorer, self._versions, self._service.settings)

    async def prepare(self) -> None:
        """Compile the kernel, and read the versions, so that the first request is answered like any other."""
        self._scorer.warm()
        # Freeze startup objects, so that the garbage collector does not rescan them while requests wait.
        gc.collect()
        gc.freeze()
        await self._rows.open()
        for thread in (self._sender, self._reader, self._stream):
            thread.start()
        # If the broker is down, the versions on disk are enough.
        if not all(self._versions.find(model.name) for model in self._versions.models):
            await asyncio.to_thread(self._reader.caught_up.wait, _PATIENCE)

    async def start(self) -> None:
        """Do nothing more: a prepared scorer answers."""

    def report(self, status: ServiceStatus) -> None:
        """Report what has been scored, and with which versions."""
        self._rebuild.look()
        counters = {
            "requests": self._scorer.requests,
            "not_logged": self._scorer.not_logged,
            "read_beyond_keep": self._scorer.behind,
            "wrong_rows": self._scorer.wrong_rows,
            "wrong_versions": self._reader.refused,
            "too_large": self._sender.refused,
        }
        report(status, self._progress, self._versions, counters)
        if self._rebuild.is_under_way():
            status.note = "rows are being made again"

    async def stop(self) -> None:
        """End the threads, and send the predictions that wait."""
        self._stream.stop()
        self._reader.stop()
        # A broker that is down blocks its threads; their work is repeated after the next start.
        await asyncio.to_thread(self._stream.join, _GRACE)
        await asyncio.to_thread(self._reader.join, _GRACE)
        self._trial.close()
        await asyncio.to_thread(self._sender.stop, _GRACE)
        await self._rows.close()


PROGRAM = Program(
    name="scorer",
    description="Answer requests for scores, and score the vectors of streams.",
    settings=ScorerSettings,
    app=ScorerApp,
    event_loop=uvloop.new_event_loop,
)
