"""The threads that read the log: the calls of pulsar-client block, so none is made on the event loop."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pulsar
import structlog

from headrace.definition import LoopDefinition, ModelDefinition
from headrace.errors import Unavailable
from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.pulsar.connection import declared_partitions, partitions
from headrace.runtime.pulsar.consumer import OwnerProgress, PartitionConsumer
from headrace.runtime.pulsar.dead_letter_writer import Refusals
from headrace.runtime.pulsar.log_reader import LogReader, LogTail
from headrace.runtime.pulsar.messages import WrongMessage, pass_over
from headrace.runtime.pulsar.model_versions import versions_in
from headrace.runtime.pulsar.producer import Producer
from headrace.wire.topics import Topics
from headrace_scorer.kept import KeptVersions
from headrace_scorer.stream import Outcome, StreamScorer
from headrace_scorer.telling import Progress
from headrace_scorer.versions import Versions

_log = structlog.get_logger()

#: Seconds between tries while the broker is down.
_RETRY = 0.5

#: Milliseconds of one poll for new versions; it ends as soon as one arrives.
_WAIT_MS = 250

#: Messages to prefetch; each may hold some thousand vectors.
_FETCHED = 200


class _LogThread(threading.Thread):
    """A thread that runs `_work` until stopped, restarts it when the broker fails, and gives up on any other error."""

    def __init__(self, name: str, failed: Callable[[BaseException], None]) -> None:
        super().__init__(name=name, daemon=True)
        self._stopping = threading.Event()
        self._failed = failed

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._work()
            except (Unavailable, pulsar.PulsarException) as error:
                _log.warning("broker_down", thread=self.name, error=str(error))
                self._stopping.wait(_RETRY)
            except BaseException as error:
                # Never continue after a batch that was not done: the process ends, and its successor tries again.
                self._failed(error)
                return

    def stop(self) -> None:
        """Ask it to finish what it has begun; then call `join`."""
        self._stopping.set()

    def _work(self) -> None:
        raise NotImplementedError


class VersionReader(_LogThread):
    """A thread that follows the models topic from its beginning.

    Parameters
    ----------
    stir
        Called when there may be a new version.

    Attributes
    ----------
    caught_up
        Set once everything that the topic held at the start has been taken.
    refused
        How many messages were not versions.
    """

    def __init__(
        self,
        client: pulsar.Client,
        topics: Topics,
        versions: Versions,
        disk: KeptVersions,
        stir: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        super().__init__("versions", failed)
        self._stir = stir
        self._disk = disk
        self._client = client
        self._topic = topics.models
        self._versions = versions
        self.refused = 0
        self.caught_up = threading.Event()
        self._confirming = threading.Condition()
        self._asked, self._confirmed = 1, 0

    def confirm(self, stopping: threading.Event) -> bool:
        """Wait until everything that the topic holds now has been taken; return False if `stopping` is set first."""
        with self._confirming:
            self._asked += 1
            asked = self._asked
            while self._confirmed < asked and not stopping.is_set():
                self._confirming.wait(0.1)
            return self._confirmed >= asked

    def _work(self) -> None:
        topics = partitions(self._client, self._topic)
        readers = [LogReader(self._client, topic, compacted=True) for topic in topics]
        try:
            while not self._stopping.is_set():
                asked = self._asked
                if self._confirmed < asked and not any(reader.more() for reader in readers):
                    self._confirm_up_to(asked)
                for reader in readers:
                    if batch := _backlog(reader, _WAIT_MS // len(readers)):
                        published = list(versions_in(batch, self._topic, self._pass_over))
                        self._disk.save(self._versions.offer(published))
                        self._stir()
        finally:
            for reader in readers:
                reader.close()

    def _confirm_up_to(self, asked: int) -> None:
        self.caught_up.set()
        with self._confirming:
            self._confirmed = asked
            self._confirming.notify_all()

    def _pass_over(self, message: WrongMessage) -> None:
        pass_over(message)
        self.refused += 1


class StreamScoring(_LogThread):
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
        reader: VersionReader,
        progress: Progress,
        failed: Callable[[BaseException], None],
    ) -> None:
        super().__init__("stream", failed)
        self._client = client
        self._loop = loop
        self._topics = topics
        self._versions = versions
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
            lambda: StreamScorer(model, lambda: self._versions.find(model.name), self._versions.reject),
            lambda stopping: self._versions.find(model.name) is not None or self._reader.confirm(stopping),
            model,
            source,
            target,
            self._topics,
            self._progress,
            self._failed,
        )
        self._scoring[source] = scoring
        scoring.start()


class PartitionScoring(_LogThread):
    """A thread that scores one partition of a features topic, if this process is its active consumer.

    A batch is acknowledged only after its predictions are durable; after a crash some are sent again
    with the same epoch and position, and readers drop them.

    Parameters
    ----------
    begin
        Makes a scorer that has seen no vector yet.
    confirm
        Waits until the model has a version, or the models topic has none; returns False if its argument is set first.
    """

    def __init__(
        self,
        client: pulsar.Client,
        begin: Callable[[], StreamScorer],
        confirm: Callable[[threading.Event], bool],
        model: ModelDefinition,
        source: str,
        target: str,
        topics: Topics,
        progress: Progress,
        failed: Callable[[BaseException], None],
    ) -> None:
        super().__init__(f"score {source.rpartition('/')[2]}", failed)
        self._client = client
        self._begin = begin
        self._confirm = confirm
        self._model = model
        self._source = source
        self._target = target
        self._topics = topics
        self._progress = progress

    def _work(self) -> None:
        predictions = LogTail(self._client, self._target)
        consumer = PartitionConsumer(
            self._client,
            self._source,
            f"scorer-{self._model.name}",
            _FETCHED,
            # How far vectors are scored is not stored anywhere; a working scorer shows by writing predictions.
            owner_progress=lambda: OwnerProgress(evidence=predictions.growths()),
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
        owner = False
        while not self._stopping.is_set():
            batch = consumer.receive()
            if not batch:
                continue
            # An owner before this one may have scored with a version that has not arrived here yet.
            if not self._confirm(self._stopping):
                return
            if not owner:
                # Only what was durable has been acknowledged, and readers drop what is scored twice.
                batch, owner = consumer.start_here(batch), True
            if batch:
                outcome = scorer.score(batch, self._source)
                self._emit(outcome, producer)
                consumer.ack(batch.positions[-1])
                self._tell(outcome)

    def _emit(self, outcome: Outcome, producer: Producer) -> None:
        for output in outcome.outputs:
            producer.send(output.payload, properties=output.properties)
        producer.flush()
        if outcome.wrong:
            self._refuse(outcome.wrong)

    def _tell(self, outcome: Outcome) -> None:
        self._progress.count(
            predictions=outcome.predictions,
            unscored=outcome.unscored,
            ignored=outcome.ignored,
            dead_letters=len(outcome.wrong),
        )
        if outcome.release_watermark is not None:
            self._progress.reached(self._source, outcome.release_watermark)

    def _refuse(self, messages: list[WrongMessage]) -> None:
        producer = Producer(self._client, self._topics.dead_letters)
        letters = Refusals(producer, self._topics, "scorer")
        for message in messages:
            letters.refuse_message(self._model.stream, message, f"vectors of model {self._model.name}")
        letters.flush()
        producer.close()


def _backlog(reader: LogReader, wait_ms: int) -> Batch:
    """Return everything that has arrived: only the last version of a long history is worth building."""
    backlog = Batch()
    batch: Batch = reader.receive(timeout_ms=wait_ms)
    while batch:
        backlog = backlog.followed_by(batch)
        batch = reader.receive(timeout_ms=20)
    return backlog
