"""The composition root of a learner process."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial

import pulsar
import structlog
from redis import Redis, RedisError

from headrace import compiler
from headrace.definition import LoopDefinition, ModelDefinition
from headrace.engine import export
from headrace.errors import CorruptState, UnknownName
from headrace.runtime.grpc.server import Server
from headrace.runtime.pulsar import connection as broker
from headrace.runtime.pulsar import probe
from headrace.runtime.pulsar.dead_letter_writer import Refusals
from headrace.runtime.pulsar.messages import WrongMessage
from headrace.runtime.pulsar.producer import Producer
from headrace.runtime.readiness import Dependencies
from headrace.runtime.redis import connection as store
from headrace.runtime.redis.fences import Fences
from headrace.runtime.redis.probe import store as watched_store
from headrace.runtime.redis.quality import QualityBoard
from headrace.runtime.redis.status import Heartbeat, Pace, ServiceStatus, StatusBoard
from headrace.wire.topics import Topics
from headrace_learner.checkpoint import Checkpoints
from headrace_learner.publishing import Versions
from headrace_learner.settings import LearnerSettings
from headrace_learner.telling import tell
from headrace_learner.worker import Outside, Worker

_log = structlog.get_logger()


async def serve(settings: LearnerSettings, models: Sequence[str] = ()) -> int:
    """Run until SIGTERM or SIGINT; a model that fails does not stop the others.

    Parameters
    ----------
    models
        The models to learn; if empty, all models of the loop.

    Returns
    -------
    int
        The process's exit code.
    """
    loop = settings.definition()
    with ExitStack() as stack:
        client = broker.connect(settings)
        models_topic = Topics(loop.name, settings.namespace).models
        dependencies = Dependencies(
            probe.broker(client, settings.pulsar_url, models_topic), watched_store(settings.redis_url)
        )
        stack.callback(dependencies.join)
        stack.callback(client.close)
        store_client = store.connect(settings.redis_url)
        stack.callback(store_client.close)
        pace = Pace()
        workers = _workers(settings, loop, chosen(loop, models), client, store_client, pace)
        server = Server(settings.bind, {}, dependencies=dependencies)
        status = ServiceStatus(service="learner", instance=settings.instance, address=server.address)
        heartbeat = Heartbeat(StatusBoard(store_client, loop.name), status)
        dependencies.notify(pace.stir)
        dependencies.start()
        stack.callback(dependencies.stop)
        await server.start()
        for worker in workers:
            worker.start()
        _log.info("listening", address=server.address, models=[worker.model.name for worker in workers])
        await _until_stopped(workers, heartbeat, pace, dependencies)
        await server.stop()
        with suppress(RedisError):
            heartbeat.end()
    return 0


def chosen(loop: LoopDefinition, names: Sequence[str]) -> list[ModelDefinition]:
    """Return the models with these names; all models if no name is given.

    Raises
    ------
    UnknownName
        The loop declares no such model.
    """
    by_name = {model.name: model for model in loop.models}
    for name in names:
        if name not in by_name:
            raise UnknownName("model", name, tuple(by_name))
    return [by_name[name] for name in names] if names else list(loop.models)


def _workers(
    settings: LearnerSettings,
    loop: LoopDefinition,
    models: Sequence[ModelDefinition],
    client: pulsar.Client,
    redis: Redis,
    pace: Pace,
) -> list[Worker]:
    loaded_loop = compiler.load(settings.loop_file)
    settings.data.mkdir(0o700, parents=True, exist_ok=True)
    topics = Topics(loop.name, settings.namespace)
    workers = []
    for model in models:
        if loaded_loop.definition.model(model.name).hash != model.hash:
            raise CorruptState(f"model {model.name!r} in {settings.loop_file} is not that of {settings.loop}")
        export.check(loaded_loop.learner(model.name), model.features, model.task)
        outside = Outside(
            client,
            topics.examples(model.name),
            Fences(redis, loop.name),
            QualityBoard(redis, loop.name),
            Versions(client, topics.models, loop.views_of(model)),
            topics.partitions_of(topics.predictions(model.name), loop.stream(model.stream).partitions),
            partial(_refuse, client, topics, model),
            topics.skips,
        )

        def make(name: str = model.name) -> object:
            return loaded_loop.learner(name)

        checkpoints = Checkpoints(settings.data / "checkpoints", model)
        workers.append(
            Worker(model, make, outside, checkpoints, settings.instance, settings.checkpoint_seconds, pace.stir)
        )
    return workers


def _refuse(client: pulsar.Client, topics: Topics, model: ModelDefinition, message: WrongMessage) -> None:
    """Write a dead letter, durably, for a message of a model's log."""
    producer = Producer(client, topics.dead_letters)
    try:
        letters = Refusals(producer, topics, "learner")
        letters.refuse_message(model.stream, message, f"entries of the log of model {model.name}")
        letters.flush()
    finally:
        producer.close()


async def _until_stopped(
    workers: Sequence[Worker], heartbeat: Heartbeat, pace: Pace, dependencies: Dependencies
) -> None:
    event_loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        event_loop.add_signal_handler(number, pace.end)
    await asyncio.to_thread(_tell_until_stopped, workers, heartbeat, pace, dependencies)
    for worker in workers:
        worker.stop()
    for worker in workers:
        await asyncio.to_thread(worker.join)
    await asyncio.to_thread(tell, workers, heartbeat, dependencies)


def _tell_until_stopped(
    workers: Sequence[Worker], heartbeat: Heartbeat, pace: Pace, dependencies: Dependencies
) -> None:
    while not pace.ended and all(worker.is_alive() for worker in workers):
        tell(workers, heartbeat, dependencies)
        pace.wait()
