"""Scoring of requests, independent of any transport: events in, answers out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from headrace.definition import LoopDefinition, ModelDefinition
from headrace.engine.kernel.assembly import Assembled
from headrace.engine.model_version import MOST_ROWS, Scores, Version, judge, texts_of, together
from headrace.errors import (
    HeadraceError,
    Implausible,
    InvalidEvent,
    InvalidRequest,
    NoModelYet,
    Overloaded,
    Unavailable,
    Unreadable,
)
from headrace.wire.limits import MAX_ID
from headrace.wire.tables import Numbers
from headrace_scorer.ports import Assembling, RowSource, ScoredRequests, ServedLog, Unscored
from headrace_scorer.requests import RequestReader, Values
from headrace_scorer.settings import StoreDown
from headrace_scorer.vectors import VectorSource
from headrace_scorer.versions import Versions

#: Requests of a batch that are computed before other calls get a turn.
_PIECE = 256

_TOO_LARGE = "its numbers are too large to compute with"


@dataclass(frozen=True, slots=True)
class Request:
    """One event to be scored; `id` identifies it for the join with its label."""

    model: str
    event: bytes
    id: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """One request's share of its batch."""

    batch: ScoredRequests
    row: int
    logged: bool

    @property
    def score(self) -> float:
        return float(self.batch.scores.score[self.row])

    @property
    def label(self) -> str:
        winners = self.batch.scores.winners
        return "" if winners is None else self.batch.version.classes[winners[self.row]]

    @property
    def probabilities(self) -> dict[str, float]:
        values = self.batch.scores.probabilities
        if values is None:
            return {}
        return dict(zip(self.batch.version.classes, values[self.row].tolist(), strict=True))

    def age(self, feature: int) -> int | None:
        """See `VectorSource.age`."""
        return self.batch.source.age(self.batch.assembled, self.row, self.batch.times[self.row], feature)


@dataclass(frozen=True, slots=True)
class Reading:
    """The vector of one event, as of a time."""

    source: VectorSource
    assembled: Assembled
    as_of: int

    def age(self, feature: int) -> int | None:
        """See `VectorSource.age`."""
        return self.source.age(self.assembled, 0, self.as_of, feature)


@dataclass(frozen=True, slots=True)
class _Read:
    """A request with the decoded values of its event."""

    request: Request
    values: Values


@dataclass(slots=True)
class _Model:
    """A definition whose vectors are assembled here.

    Attributes
    ----------
    current
        The loop's model, if this is its former definition, which answers until the new one has learned enough.
    version
        The version that answered last.
    """

    definition: ModelDefinition
    reader: RequestReader
    source: VectorSource
    current: _Model | None = None
    version: Version | None = None
    gathered: list[tuple[_Read, asyncio.Future[Answer]]] = field(default_factory=list)

    def fits(self, version: Version) -> bool:
        """Whether a version scores these vectors."""
        return version.selection is not None if self.current is None else version.model.hash == self.definition.hash


class Scorer:
    """The scorer of requests for a loop's models.

    Requests that arrive at the same moment are scored together: one read of the store, one pass of the
    kernel, one run of the model.

    Parameters
    ----------
    assembler
        Makes the kernel's assembler of a model.
    clock
        Returns the current time, in µs since the epoch.
    rebuilding
        Whether rows are incomplete; answers then say so.
    """

    def __init__(
        self,
        loop: LoopDefinition,
        versions: Versions,
        assembler: Callable[[LoopDefinition, ModelDefinition], Assembling],
        rows: RowSource,
        *,
        log: ServedLog,
        clock: Callable[[], int],
        store_down: StoreDown = StoreDown.FAIL,
        max_in_flight: int = 4_096,
        rebuilding: Callable[[], bool] = lambda: False,
    ) -> None:
        self.versions = versions
        self.rebuilding = rebuilding
        self._log = log
        self._clock = clock
        self._store_down = store_down
        self._free = self._max_in_flight = max_in_flight
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = loop
        self._assembler = assembler
        self._rows = rows
        self._models: dict[str, _Model] = {}
        self._formers: dict[str, _Model] = {}
        self.requests = 0
        self.not_logged = 0
        self.behind = 0
        self.wrong_rows = 0
        for model in loop.models:
            self._models[model.name] = self._models[model.title] = self._made(model, loop)

    def warm(self) -> None:
        """Assemble each model's vector once, without rows, so that no request waits for the kernel to compile."""
        for model in self._models.values():
            events = model.reader.columns([model.reader.nothing], [""], self._clock())
            model.source.without_rows(events, events.times)

    async def score(self, request: Request) -> Answer:
        """Score one event.

        Raises
        ------
        UnknownName, NoModelYet, InvalidEvent, InvalidRequest, Unavailable, Overloaded
            See each of these errors.
        Unreadable
            A row that it reads is damaged.
        """
        model = self._admit(request)
        read = _Read(request, model.reader.read(request.event))
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        with self.room(1):
            if not model.gathered:
                loop.call_soon(self._flush, model)
            model.gathered.append((read, future))
            return await future

    async def score_many(self, requests: Sequence[Request]) -> list[Answer | Exception]:
        """Score several events; a request that fails has its error in its place.

        Raises
        ------
        InvalidRequest, Overloaded
            They are more than may ever be under way, or more than may be now.
        """
        with self.room(len(requests)):
            outcomes: list[Answer | Exception] = []
            for start in range(0, len(requests), _PIECE):
                outcomes += await self._score_many(requests[start : start + _PIECE])
                await asyncio.sleep(0)  # let other calls have their turn
            return outcomes

    async def score_given(self, version: Version, numbers: Numbers, texts: npt.NDArray[np.object_] | None) -> Scores:
        """Score vectors that the caller gives, in pieces.

        Raises
        ------
        Implausible
            The version has no answer for one of them.
        """
        scores: list[Scores] = []
        for start in range(0, max(len(numbers), 1), MOST_ROWS):
            part = numbers[start : start + MOST_ROWS]
            scores.append(version.score(part, None if texts is None else texts[start : start + MOST_ROWS]))
            judgement = judge(version.model.task, scores[-1], part)
            if judgement.wrong is not None:
                self.versions.reject(version, judgement.wrong)
            if judgement.wrong is not None or judgement.unanswered:
                raise Implausible(version.model.title, version.examples, judgement.wrong or _TOO_LARGE)
            await asyncio.sleep(0)
        return together(scores)

    async def vector(self, model: str, event: bytes, as_of: int | None = None) -> Reading:
        """Return the vector of an event as of `as_of`, or of the event's time, or of now.

        Raises
        ------
        UnknownName, InvalidEvent, Unavailable
            See each of these errors; a vector without its rows is never returned.
        """
        definition = self._models[self.versions.model(model).name]
        events = definition.reader.columns(
            [definition.reader.read(event)], [""], self._clock() if as_of is None else as_of
        )
        times = events.times if as_of is None else np.array([as_of], np.int64)
        return Reading(definition.source, await definition.source.assemble(events, times), int(times[0]))

    async def _score_many(self, requests: Sequence[Request]) -> list[Answer | Exception]:
        outcomes: list[Answer | Exception | None] = [None] * len(requests)
        groups: dict[int, tuple[_Model, list[tuple[int, _Read]]]] = {}
        for place, request in enumerate(requests):
            try:
                model = self._admit(request)
                read = _Read(request, model.reader.read(request.event))
            except HeadraceError as error:
                outcomes[place] = error
            else:
                groups.setdefault(id(model), (model, []))[1].append((place, read))
        for model, group in groups.values():
            results = await self._outcomes(model, [read for _, read in group])
            for (place, _), outcome in zip(group, results, strict=True):
                outcomes[place] = outcome
        return [outcome for outcome in outcomes if outcome is not None]

    def _flush(self, model: _Model) -> None:
        pairs, model.gathered = model.gathered, []
        task = asyncio.get_running_loop().create_task(self._answer(model, pairs))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, model: _Model, pairs: list[tuple[_Read, asyncio.Future[Answer]]]) -> None:
        outcomes = await self._outcomes(model, [read for read, _ in pairs])
        for (_, future), outcome in zip(pairs, outcomes, strict=True):
            if future.done():
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

    async def _outcomes(self, model: _Model, reads: list[_Read]) -> list[Answer | Exception]:
        """Return an outcome per request: a kernel failure or a damaged row is one, and the others are answered."""
        try:
            batch, logged = await self._compute(model, reads)
        except Exception as error:
            if len(reads) == 1 and isinstance(error, Unreadable):
                self.wrong_rows += 1
            if len(reads) == 1 or (isinstance(error, HeadraceError) and not isinstance(error, Unreadable)):
                return [error] * len(reads)
            middle = len(reads) // 2
            return await self._outcomes(model, reads[:middle]) + await self._outcomes(model, reads[middle:])
        return [_answer(batch, row, logged) for row in range(len(reads))]

    def _made(self, definition: ModelDefinition, loop: LoopDefinition, current: _Model | None = None) -> _Model:
        kernel = self._assembler(loop, definition)
        reader = RequestReader(loop.stream(definition.stream), kernel.fields)
        return _Model(definition, reader, VectorSource(loop, definition, kernel, self._rows), current)

    def _admit(self, request: Request) -> _Model:
        """Return the definition that answers a request.

        Raises
        ------
        NoModelYet
            No version can score it, and the first version will not learn from it either.
        """
        if len(request.id) > MAX_ID // 4 and len(request.id.encode()) > MAX_ID:
            raise InvalidRequest("event_id", f"{len(request.id)} characters long", f"at most {MAX_ID} bytes")
        definition = self.versions.model(request.model)
        version = self.versions.find(definition.name)
        if version is None and not (request.id and definition.vectors == "requests"):
            raise NoModelYet(request.model)
        model = self._models[definition.name]
        if version is None:
            return model
        if version.selection is None:
            model = self._former(version, model)
        # A request that was admitted is answered, even if another definition takes over before it is scored.
        model.version = version
        return model

    def _former(self, version: Version, current: _Model) -> _Model:
        """Return the former definition, whose vectors the loop's own do not contain."""
        former = self._formers.get(current.definition.name)
        if former is None or not former.fits(version):
            loop = self._loop if version.former is None else version.former.within(self._loop)
            former = self._made(version.model, loop, current)
            self._formers[current.definition.name] = former
        return former

    async def _compute(self, model: _Model, reads: list[_Read]) -> tuple[ScoredRequests, bool]:
        """Return the scores of requests, and whether they are logged.

        Raises
        ------
        NoModelYet
            The model has no version yet; requests with an id are logged, so that it can learn from them.
        """
        unscored = await self._vectors(model, reads)
        self.requests += len(reads)
        newest = self.versions.find(model.definition.name)
        version = newest if newest is not None and model.fits(newest) else model.version
        if version is None:
            self._logged(unscored)
            raise NoModelYet(model.definition.name)
        version, scores, unanswered = self._scored(model, version, unscored.assembled)
        batch = ScoredRequests(
            unscored.model,
            unscored.ids,
            unscored.times,
            unscored.assembled,
            unscored.source,
            unscored.store_down,
            version,
            scores,
            learned=model.current is None,
            unanswered=unanswered,
        )
        logged = self._logged(batch)
        if model.current is not None and model.current.definition.vectors == "requests":
            logged = await self._log_questions(model.current, [read.request for read in reads]) and logged
        return batch, logged

    def _scored(self, model: _Model, version: Version, assembled: Assembled) -> tuple[Version, Scores, frozenset[int]]:
        """Score vectors with a version, or with the one before it if its answers are implausible.

        Also return the rows without an answer: their values are so large that the computation overflows.

        Raises
        ------
        Implausible
            No version has an answer.
        """
        while True:
            if model.current is None:
                assert version.selection is not None
                scores = version.score_vectors(version.selection, assembled.numbers, assembled.categories)
            else:
                texts = texts_of(assembled.categories, len(assembled.numbers)) if assembled.categories else None
                scores = version.score(assembled.numbers, texts)
            judgement = judge(version.model.task, scores, assembled.numbers)
            if judgement.wrong is None:
                return version, scores, judgement.unanswered
            previous = self.versions.reject(version, judgement.wrong)
            if previous is None or previous is version or not model.fits(previous):
                raise Implausible(version.model.title, version.examples, judgement.wrong)
            version = previous

    async def _vectors(self, model: _Model, reads: list[_Read]) -> Unscored:
        ids = [read.request.id for read in reads]
        events = model.reader.columns([read.values for read in reads], ids, self._clock())
        times = events.times
        down = False
        try:
            assembled = await model.source.assemble(events, times)
        except Unavailable:
            if self._store_down is StoreDown.FAIL:
                raise
            assembled, down = model.source.without_rows(events, times), True
        self.behind += assembled.behind
        return Unscored(model.definition, ids, times.tolist(), assembled, model.source, down)

    async def _log_questions(self, model: _Model, requests: list[Request]) -> bool:
        """Log the vectors of a definition that is still learning; return False if one is missing."""
        reads: list[_Read] = []
        for request in requests:
            if not request.id:
                continue
            try:
                reads.append(_Read(request, model.reader.read(request.event)))
            except InvalidEvent:
                # The caller does not yet send what the new definition needs.
                self.not_logged += 1
        if not reads:
            return not any(request.id for request in requests)
        try:
            unscored = await self._vectors(model, reads)
        except (Unavailable, Unreadable):
            self.not_logged += len(reads)
            return False
        return self._logged(unscored) and len(reads) == sum(1 for request in requests if request.id)

    @contextmanager
    def room(self, requests: int) -> Iterator[None]:
        """Reserve room for requests under way.

        Raises
        ------
        InvalidRequest
            They are more than there is ever room for.
        Overloaded
            They are more than there is room for now.
        """
        if requests > self._max_in_flight:
            limit = f"at most {self._max_in_flight:,} (HEADRACE_MAX_IN_FLIGHT): send several batches"
            raise InvalidRequest("the batch", f"of {requests:,} requests", limit)
        if requests > self._free:
            under_way = f"{self._max_in_flight - self._free:,} of {self._max_in_flight:,} requests under way"
            raise Overloaded(f"{under_way}, no room for {requests:,}; send more slowly, or ask another scorer")
        self._free -= requests
        try:
            yield
        finally:
            self._free += requests

    def _logged(self, batch: Unscored) -> bool:
        """Log the rows that have an id; return False if there were some and they were not taken."""
        # A caller without an answer asks again.
        left_out = batch.unanswered if isinstance(batch, ScoredRequests) else ()
        rows = [row for row, id in enumerate(batch.ids) if id and row not in left_out]
        if not rows or self._log.offer(batch, rows):
            return True
        self.not_logged += len(rows)
        return False


def _answer(batch: ScoredRequests, row: int, logged: bool) -> Answer | Exception:
    if row not in batch.unanswered:
        return Answer(batch, row, logged)
    return Implausible(batch.version.model.title, batch.version.examples, _TOO_LARGE)
