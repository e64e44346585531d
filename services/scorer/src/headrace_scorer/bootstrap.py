"""The composition root of the scorer."""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from collections.abc import Callable
from functools import partial

import grpc
import pulsar
import structlog

from headrace.engine.kernel.assembly import Assembler
from headrace.inference import grpc_service_pb2 as inference_pb2
from headrace.inference import grpc_service_pb2_grpc
from headrace.runtime.grpc.call_limits import CallLimits
from headrace.runtime.grpc.server import Server
from headrace.runtime.pulsar import probe
from headrace.runtime.pulsar.connection import connect
from headrace.runtime.pulsar.log_ends import entries_of
from headrace.runtime.readiness import Dependencies
from headrace.runtime.redis.probe import store as watched_store
from headrace.runtime.redis.status import Pace, ServiceStatus, TakeoverStatus
from headrace.v1 import features_pb2, features_pb2_grpc, models_pb2, models_pb2_grpc, scoring_pb2, scoring_pb2_grpc
from headrace.wire.times import told
from headrace.wire.topics import Topics
from headrace_scorer.handlers.features import FeatureHandler
from headrace_scorer.handlers.inference import InferenceHandler
from headrace_scorer.handlers.models import ModelHandler
from headrace_scorer.handlers.scoring import ScoringHandler
from headrace_scorer.kept import KeptVersions
from headrace_scorer.rows import StoredRows
from headrace_scorer.scorer import Scorer
from headrace_scorer.served import ServedQueue, ServedSender
from headrace_scorer.settings import ScorerSettings, StoreDown
from headrace_scorer.telling import Progress, Rebuild, StatusThread
from headrace_scorer.threads import StreamScoring, VersionReader
from headrace_scorer.trial import Trial
from headrace_scorer.versions import Versions

_log = structlog.get_logger()

#: Seconds that remain, when the service ends, for served predictions that still wait for the broker.
_GRACE = 5.0

#: Seconds that a scorer waits for the versions on the models topic before it listens: a scorer that replaces another
#: one must not refuse what the other answered.
_PATIENCE = 5.0

#: Bytes of requests under way, and fields of one request of the Open Inference Protocol.
_HELD_BYTES, _INFER_FIELDS = 64 * 2**20, 256

_Add = Callable[[grpc.aio.Server], None]

# Generated code has no types.
_add_scoring: Callable[..., None] = scoring_pb2_grpc.add_ScoringServiceServicer_to_server
_add_feature: Callable[..., None] = features_pb2_grpc.add_FeatureServiceServicer_to_server
_add_model: Callable[..., None] = models_pb2_grpc.add_ModelServiceServicer_to_server
_add_inference: Callable[..., None] = grpc_service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server


def services(scorer: Scorer, versions: Versions) -> dict[str, _Add]:
    """Return the gRPC services of a scorer by name, for `headrace.runtime.grpc.server.Server`."""
    return {
        _name(scoring_pb2, "ScoringService"): partial(_add_scoring, ScoringHandler(scorer)),
        _name(features_pb2, "FeatureService"): partial(_add_feature, FeatureHandler(scorer)),
        _name(models_pb2, "ModelService"): partial(_add_model, ModelHandler(versions)),
        _name(inference_pb2, "GRPCInferenceService"): partial(_add_inference, InferenceHandler(versions, scorer)),
    }


def limits(settings: ScorerSettings) -> CallLimits:
    """Return the bounds of calls: streams and watches never take up all the room."""
    return CallLimits(
        calls=settings.max_calls,
        pending=settings.max_waiting,
        streams=settings.max_calls // 2,
        watches=settings.max_calls // 4,
        held_bytes=_HELD_BYTES,
        fields={
            f"/{_name(scoring_pb2, 'ScoringService')}/ScoreBatch": settings.max_in_flight,
            f"/{_name(inference_pb2, 'GRPCInferenceService')}/ModelInfer": _INFER_FIELDS,
        },
    )


def needs(store_down: StoreDown) -> dict[str, list[str]]:
    """Return what each gRPC service cannot answer without: never the broker; the store, unless the settings say so."""
    store = ["store"] if store_down is StoreDown.FAIL else []
    return {_name(scoring_pb2, "ScoringService"): store, _name(features_pb2, "FeatureService"): ["store"]}


class Service:
    """One scorer process, created on its event loop."""

    def __init__(self, settings: ScorerSettings) -> None:
        self._settings = settings
        self._loop = settings.definition()
        self._topics = Topics(self._loop.name, settings.namespace)
        self._running = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        self._failure: BaseException | None = None
        self._trial = Trial()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then finish what is under way."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._running.add_signal_handler(number, self._ending.set)
        client = connect(self._settings)
        dependencies = Dependencies(
            probe.broker(client, self._settings.pulsar_url, self._topics.models),
            watched_store(self._settings.redis_url),
        )
        rows = StoredRows(self._settings.redis_url, self._settings.store_timeout)
        try:
            await self._serve(client, rows, dependencies)
        finally:
            await rows.close()
            await asyncio.to_thread(client.close)
            await asyncio.to_thread(dependencies.join)
        if self._failure is not None:
            raise self._failure

    async def _serve(self, client: pulsar.Client, rows: StoredRows, dependencies: Dependencies) -> None:
        settings, pace = self._settings, Pace()
        versions = Versions(
            self._loop,
            _log.info,
            lambda model: entries_of(client, self._topics.examples(model)),
            self._trial.try_version,
        )
        progress = Progress(stir=pace.stir)
        dependencies.notify(pace.stir)
        queue = ServedQueue(settings.log_queue, settings.log_patience)
        rebuild = Rebuild(self._loop)
        scorer = Scorer(
            self._loop,
            versions,
            Assembler,
            rows,
            queue,
            clock=lambda: time.time_ns() // 1000,
            store_down=settings.store_down,
            max_in_flight=settings.max_in_flight,
            rebuilding=rebuild.is_under_way,
        )
        server = Server(
            settings.bind,
            services(scorer, versions),
            dependencies=dependencies,
            needs=needs(settings.store_down),
            limits=limits(settings),
        )
        sender = ServedSender(client, self._topics, queue, lambda count: progress.count(logged=count))
        disk = KeptVersions(settings.data / "versions")
        disk.save(versions.offer_kept(disk.load()))
        reader = VersionReader(client, self._topics, versions, disk, pace.stir, self._fail)
        stream = StreamScoring(client, self._loop, self._topics, versions, reader, progress, self._fail)

        def refresh(status: ServiceStatus) -> None:
            requests = {"requests": scorer.requests, "not_logged": scorer.not_logged, "read_beyond_keep": scorer.behind}
            requests |= {"wrong_rows": scorer.wrong_rows, "wrong_versions": reader.refused, "too_large": sender.refused}
            status.counters = {"predictions": 0, "unscored": 0, **progress.counters, **requests}
            status.watermark = told(progress.watermark)
            status.versions = versions.examples()
            takeovers = ((model.name, versions.takeover(model.name)) for model in versions.models)
            status.takeovers = {
                name: TakeoverStatus(**takeover._asdict()) for name, takeover in takeovers if takeover is not None
            }
            status.state = dependencies.state()
            status.note = dependencies.note("rows are being made again" if rebuild.is_under_way() else "")

        status = ServiceStatus(service="scorer", instance=settings.instance, address=server.address)
        board = StatusThread(settings.redis_url, self._loop.name, status, refresh, rebuild.look, pace)
        scorer.warm()
        # Freeze startup objects, so that the garbage collector does not rescan them while requests wait.
        gc.collect()
        gc.freeze()
        await rows.open()
        for thread in (sender, reader, stream):
            thread.start()
        dependencies.start()
        # If the broker is down, the versions kept on disk are enough.
        if not all(versions.find(model.name) for model in versions.models):
            await asyncio.to_thread(reader.caught_up.wait, _PATIENCE)
        await server.start()
        board.start()
        _log.info("listening", address=server.address)
        await self._ending.wait()
        await server.stop()
        dependencies.stop()
        stream.stop()
        reader.stop()
        # A broker that is down blocks its threads; their work is repeated after the next start.
        await asyncio.to_thread(stream.join, _GRACE)
        await asyncio.to_thread(reader.join, _GRACE)
        self._trial.close()
        await asyncio.to_thread(sender.stop, _GRACE)
        await asyncio.to_thread(board.stop)

    def _fail(self, error: BaseException) -> None:
        _log.error("service_failed", error=repr(error), exc_info=error)
        self._failure = error
        self._running.call_soon_threadsafe(self._ending.set)


def _name(module: object, service: str) -> str:
    return str(module.DESCRIPTOR.services_by_name[service].full_name)  # type: ignore[attr-defined]
