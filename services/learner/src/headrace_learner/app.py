"""The composition root of the learner service."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from functools import partial

from headrace import compiler
from headrace.definition import LoopDefinition, ModelDefinition
from headrace.engine import export
from headrace.errors import CorruptState, UnknownName
from headrace.runtime.pulsar.dead_letter_writer import DeadLetterWriter
from headrace.runtime.pulsar.skips import SkipReader
from headrace.runtime.redis import connection
from headrace.runtime.redis.fences import Fences
from headrace.runtime.redis.quality import QualityBoard
from headrace.runtime.redis.status import ServiceStatus
from headrace.runtime.service import App, Endpoint, Program, Service
from headrace_learner.checkpoint import Checkpoints
from headrace_learner.model_learner import Connections, ModelLearner
from headrace_learner.pulsar.model_log import PulsarModelLog
from headrace_learner.pulsar.prediction_reader import PredictionReader
from headrace_learner.pulsar.version_publisher import VersionPublisher
from headrace_learner.settings import LearnerSettings
from headrace_learner.status import report


class LearnerApp(App):
    """The learners of a process, one thread for each model; one that fails does not stop the others."""

    def __init__(self, service: Service[LearnerSettings]) -> None:
        self._service = service
        self._store = connection.connect(service.settings.redis_url)
        self._learners = self._made(selected_models(service.loop, service.settings.model))

    @property
    def endpoint(self) -> Endpoint:
        """No service: the server answers health checks alone."""
        return Endpoint()

    async def start(self) -> None:
        """Start the threads; each waits for the broker by itself."""
        for learner in self._learners:
            learner.start()

    def report(self, status: ServiceStatus) -> None:
        """Report the status of each model; end the process if one of the threads has ended."""
        report(status, {learner.model.name: learner.status for learner in self._learners})
        if any(learner.ident is not None and not learner.is_alive() for learner in self._learners):
            self._service.stop()

    async def stop(self) -> None:
        """Let each thread finish its message and write a checkpoint."""
        for learner in self._learners:
            learner.stop()
        for learner in self._learners:
            await asyncio.to_thread(learner.join)
        self._store.close()

    def _made(self, models: Sequence[ModelDefinition]) -> list[ModelLearner]:
        settings, loop = self._service.settings, self._service.loop
        loaded_loop = compiler.load(settings.loop_file)
        settings.data.mkdir(0o700, parents=True, exist_ok=True)
        learners = []
        for model in models:
            if loaded_loop.definition.model(model.name).hash != model.hash:
                raise CorruptState(f"model {model.name!r} in {settings.loop_file} is not that of {settings.loop}")
            export.check(loaded_loop.learner(model.name), model.features, model.task)
            learners.append(
                ModelLearner(
                    model,
                    partial(loaded_loop.learner, model.name),
                    self._connections(loop, model),
                    Checkpoints(settings.data / "checkpoints", model),
                    checkpoint_seconds=settings.checkpoint_seconds,
                    compiled_learners=settings.compiled_learners,
                    on_choice=_freeze,
                    on_change=self._service.pace.wake,
                )
            )
        return learners

    def _connections(self, loop: LoopDefinition, model: ModelDefinition) -> Connections:
        client, topics, reports = self._service.client, self._service.topics, QualityBoard(self._store, loop.name)
        log, instance = topics.examples(model.name), self._service.settings.instance
        predictions = topics.partitions_of(topics.predictions(model.name), loop.stream(model.stream).partitions)
        dead_letters = DeadLetterWriter(client, topics, "learner")
        return Connections(
            log=PulsarModelLog(client, log, model, instance=instance, reports=reports),
            owners=Fences(self._store, loop.name),
            reports=reports,
            versions=VersionPublisher(client, topics.models, loop.views_of(model)),
            predictions=PredictionReader(client, model, predictions),
            skips=partial(SkipReader, client, topics.skips, model.name),
            refuse=partial(dead_letters.refuse_messages, model.stream, f"entries of the log of model {model.name}"),
        )


def _freeze() -> None:
    """Freeze startup objects, so that the garbage collector does not rescan them while examples wait."""
    gc.collect()
    gc.freeze()


def selected_models(loop: LoopDefinition, names: Sequence[str] | None) -> list[ModelDefinition]:
    """Return the models with these names; all models if no name is given.

    Raises
    ------
    UnknownName
        The loop declares no such model.
    """
    by_name = {model.name: model for model in loop.models}
    for name in names or ():
        if name not in by_name:
            raise UnknownName("model", name, tuple(by_name))
    return [by_name[name] for name in names] if names else list(loop.models)


PROGRAM = Program(
    name="learner",
    description="Test and train the models of a loop, and publish their versions.",
    settings=LearnerSettings,
    app=LearnerApp,
    options=("loop_file", "model"),
)
