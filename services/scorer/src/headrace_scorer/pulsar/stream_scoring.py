"""The threads that score features topics: one for each partition, and one that starts them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pulsar

from headrace.definition import LoopDefinition, ModelDefinition
from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.pulsar.connection import declared_partitions
from headrace.runtime.pulsar.consumer import OwnerProgress, PartitionConsumer
from headrace.runtime.pulsar.dead_letter_writer import DeadLetterWriter
from headrace.runtime.pulsar.log_reader import LogTail
from headrace.runtime.pulsar.messages import WrongMessage
from headrace.runtime.pulsar.producer import Producer
from headrace.wire.position import START, Position
from headrace.wire.topics import Topics
from headrace_scorer.ports import PositionStore
from headrace_scorer.pulsar.log_thread import LogThread
from headrace_scorer.pulsar.version_reader import VersionReader
from headrace_scorer.scored_position import ScoredPosition
from headrace_scorer.status import ScoringProgress
from headrace_scorer.stream_scorer import ScoredBatch, StreamScorer
from headrace_scorer.versions import Versions

#: Messages to prefetch; each may hold some thousand vectors.
_FETCHED = 200


class StreamScoring(LogThread):
    """A thread that scores the features topics of all models whose vectors come from their stream.

    It starts once the versions are loaded, so that a restarted scorer leaves no vector unscored
    if it has a version for it. It fails with `WrongPartitions`, before it has scored anything.
    """

    def __init__(
        self,
        client: pulsar.Client,
        loop: LoopDefinition,
        topics: Topics,
        versions: Versions,
        *,
        instance: str,
        scored: PositionStore,
        reader: VersionReader,
        progress: ScoringProgress,
        failed: Callable[[BaseException], None],
    ) -> None:
        super().__init__("stream", failed)
        self._client = client
        self._loop = loop
        self._topics = topics
        self._versions = versions
        self._instance = instance
        self._scored = scored
        self._reader = reader
        self._progress = progress
        self._scoring: dict[str, PartitionScoring] = {}

    def _work(self) -> None:
        while not self._reader.caught_up.wait(0.1):
            if self._stopping.is_set():
                return
        models = [model for model in self._loop.models if model.vectors == "stream"]
        for model, routes in [(model, self._routes(model)) for model in models]:
            for source, target in routes:
                self._begin(model, source, target)
        self._stopping.wait()
        for scoring in self._scoring.values():
            scoring.stop()
        for scoring in self._scoring.values():
            scoring.join()

    def _routes(self, model: ModelDefinition) -> list[tuple[str, str]]:
        """Return the source and the target topic of each partition."""
        stream = self._loop.stream(model.stream)
        sources, targets = (
            declared_partitions(self._client, topic, stream)
            for topic in (self._topics.features(model.name), self._topics.predictions(model.name))
        )
        return list(zip(sources, targets, strict=True))

    def _begin(self, model: ModelDefinition, source: str, target: str) -> None:
        if source in self._scoring or self._stopping.is_set():
            return
        scoring = PartitionScoring(
            self._client,
            begin=lambda: StreamScorer(model, lambda: self._versions.find(model.name), self._versions.reject),
            confirm=lambda stopping: self._versions.find(model.name) is not None or self._reader.confirm(stopping),
            model=model,
            source=source,
            target=target,
            instance=self._instance,
            scored=ScoredPosition(self._scored, source),
            topics=self._topics,
            progress=self._progress,
            failed=self._failed,
        )
        self._scoring[source] = scoring
        scoring.start()


class PartitionScoring(LogThread):
    """A thread that scores one partition of a features topic, if this process is its active consumer.

    A batch is acknowledged only after its predictions are durable; after a crash some are sent again
    with the same epoch and position, and readers drop them.

    Parameters
    ----------
    begin
        Makes a scorer that has seen no vector yet.
    confirm
        Waits until the model has a version, or the models topic has none; returns False if its argument is set first.
    scored
        The position that this scorer, or another one, has scored up to.
    clock
        Seconds, see `PartitionConsumer`.
    """

    def __init__(
        self,
        client: pulsar.Client,
        *,
        begin: Callable[[], StreamScorer],
        confirm: Callable[[threading.Event], bool],
        model: ModelDefinition,
        source: str,
        target: str,
        instance: str,
        scored: ScoredPosition,
        topics: Topics,
        progress: ScoringProgress,
        failed: Callable[[BaseException], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(f"score {source.rpartition('/')[2]}", failed)
        self._client = client
        self._begin = begin
        self._confirm = confirm
        self._model = model
        self._source = source
        self._target = target
        self._instance = instance
        self._scored = scored
        self._dead_letters = DeadLetterWriter(client, topics, "scorer")
        self._progress = progress
        self._clock = clock

    def _work(self) -> None:
        predictions = LogTail(self._client, self._target)
        consumer = PartitionConsumer(
            self._client,
            self._source,
            f"scorer-{self._model.name}",
            _FETCHED,
            # The broker chooses the owner by the order of names: a random one would change its choice each time.
            name=self._instance,
            owner_progress=lambda: OwnerProgress(self._scored.read() or START, predictions.growths()),
            clock=self._clock,
        )
        try:
            producer = Producer(self._client, self._target)
            try:
                # A new scorer each time: vectors that an earlier one saw but did not send come again, and must count.
                self._consume(consumer, producer, self._begin())
            finally:
                producer.close()
        finally:
            predictions.close()
            consumer.close()

    def _consume(self, consumer: PartitionConsumer, producer: Producer, scorer: StreamScorer) -> None:
        """Score until stopped, or until another scorer owns the partition."""
        done: Position | None = None
        owner = False
        while not self._stopping.is_set() and not consumer.is_overtaken:
            batch = consumer.receive()
            if batch or (not owner and consumer.is_abandoned):
                # An owner before this one may have scored with a version that has not arrived here yet.
                if not self._confirm(self._stopping):
                    return
                if not owner:
                    batch, owner = self._take_over(consumer, batch)
            if batch:
                outcome = scorer.score(batch, self._source)
                self._emit(outcome, producer)
                done = batch.positions[-1]
                consumer.ack(done)
                self._count(outcome)
            if done is not None:
                self._scored.note(done)

    def _take_over(self, consumer: PartitionConsumer, batch: Batch) -> tuple[Batch, bool]:
        """Become the owner; return the first messages, and whether this worked."""
        if batch:
            # Only what was durable has been acknowledged, and readers drop what is scored twice.
            return consumer.start_here(batch), True
        done = self._scored.read()
        if done is None:
            return batch, False
        # The broker may keep the partition for a scorer that was killed.
        return consumer.start_after(done, batch), True

    def _emit(self, outcome: ScoredBatch, producer: Producer) -> None:
        for output in outcome.outputs:
            producer.send(output.payload, properties=output.properties)
        producer.flush()
        if outcome.wrong:
            self._refuse(outcome.wrong)

    def _count(self, outcome: ScoredBatch) -> None:
        self._progress.count(
            predictions=outcome.predictions,
            unscored=outcome.unscored,
            ignored=outcome.ignored,
            dead_letters=len(outcome.wrong),
        )
        if outcome.release_watermark is not None:
            self._progress.reached(self._source, outcome.release_watermark)

    def _refuse(self, messages: list[WrongMessage]) -> None:
        expected = f"vectors of model {self._model.name}"
        self._dead_letters.refuse_messages(self._model.stream, expected, *messages)
