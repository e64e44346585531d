"""Scoring requests, without any transport: events in, answers out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from headrace.definition import LoopDefinition, ModelDefinition
from headrace.errors import HeadraceError, NoModelYet, Overloaded, Unavailable
from headrace.kernel.assemble import Assembled
from headrace.version import Scores, Version, texts_of
from headrace_scorer.requests import RequestReader, Values
from headrace_scorer.rows import RowSource
from headrace_scorer.settings import StoreDown
from headrace_scorer.vectors import Assembling, VectorSource
from headrace_scorer.versions import Versions


@dataclass(frozen=True, slots=True)
class Request:
    """One event to be scored; `id` names it for the join with its label."""

    model: str
    event: bytes
    id: str = ""


@dataclass(frozen=True, slots=True)
class Unscored:
    """The vectors of several requests of one model, made in one go; there is no version yet that scores them."""

    model: ModelDefinition
    ids: list[str]
    times: list[int]
    assembled: Assembled
    source: VectorSource
    store_down: bool


@dataclass(frozen=True, slots=True)
class Batch(Unscored):
    """What was computed for several requests of one model in one go."""

    version: Version
    scores: Scores


@dataclass(frozen=True, slots=True)
class Answer:
    """One request's share of its batch."""

    batch: Batch
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
        found = self.batch.scores.probabilities
        if found is None:
            return {}
        return dict(zip(self.batch.version.classes, found[self.row].tolist(), strict=True))

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


class ServedLog(Protocol):
    """Where served predictions go, for the join with their labels."""

    def offer(self, batch: Unscored, rows: Sequence[int]) -> bool:
        """Take these rows of a batch without waiting; False where they will not be logged."""
        ...


@dataclass(slots=True)
class _Model:
    definition: ModelDefinition
    reader: RequestReader
    source: VectorSource
    gathered: list[tuple[Request, Values, asyncio.Future[Answer]]] = field(default_factory=list)


class Scorer:
    """Answers what a loop's models predict.

    Requests that arrive in the same moment are scored together: one read of the store, one pass of the
    kernel, one run of the model.

    Parameters
    ----------
    assembler
        Makes the kernel's assembler of a model.
    clock
        Now, in µs since the epoch.
    rebuilding
        Whether rows are incomplete, for the answers to say so.
    """

    def __init__(
        self,
        loop: LoopDefinition,
        versions: Versions,
        assembler: Callable[[LoopDefinition, ModelDefinition], Assembling],
        rows: RowSource,
        log: ServedLog,
        *,
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
        self._free = max_in_flight
        self._tasks: set[asyncio.Task[None]] = set()
        self._models: dict[str, _Model] = {}
        self.requests = 0
        self.not_logged = 0
        self.behind = 0
        for model in loop.models:
            kernel = assembler(loop, model)
            self._models[model.name] = self._models[model.title] = _Model(
                model,
                RequestReader(loop.stream(model.stream), kernel.fields),
                VectorSource(loop, model, kernel, rows),
            )

    def warm(self) -> None:
        """Make each model's vector once, of nothing, so that no request waits for the kernel to compile."""
        for model in self._models.values():
            events = model.reader.columns([model.reader.nothing], [""], self._clock())
            model.source.without_rows(events, events.times)

    async def score(self, request: Request) -> Answer:
        """Score one event.

        Raises
        ------
        UnknownName, NoModelYet, InvalidEvent, Unavailable, Overloaded
            As they say.
        """
        self._admit(request)
        model = self._models[request.model]
        values = model.reader.read(request.event)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        with self._room(1):
            if not model.gathered:
                loop.call_soon(self._flush, model)
            model.gathered.append((request, values, future))
            return await future

    async def score_many(self, requests: Sequence[Request]) -> list[Answer | Exception]:
        """Score several events; a request that fails has its error in its own place."""
        with self._room(len(requests)):
            return await self._score_many(requests)

    async def vector(self, model: str, event: bytes, as_of: int | None = None) -> Reading:
        """The vector of an event as of a time: the one asked for, else the event's, else now.

        Raises
        ------
        UnknownName, InvalidEvent, Unavailable
            As they say; a vector without its rows is never answered.
        """
        own = self._models[self.versions.model(model).name]
        events = own.reader.columns([own.reader.read(event)], [""], self._clock() if as_of is None else as_of)
        times = events.times if as_of is None else np.array([as_of], np.int64)
        return Reading(own.source, await own.source.assemble(events, times), int(times[0]))

    async def _score_many(self, requests: Sequence[Request]) -> list[Answer | Exception]:
        outcomes: list[Answer | Exception | None] = [None] * len(requests)
        groups: dict[str, list[tuple[int, Values]]] = {}
        for place, request in enumerate(requests):
            try:
                self._admit(request)
                values = self._models[request.model].reader.read(request.event)
            except HeadraceError as error:
                outcomes[place] = error
            else:
                groups.setdefault(request.model, []).append((place, values))
        for name, group in groups.items():
            ids, read = [requests[place].id for place, _ in group], [own for _, own in group]
            for (place, _), outcome in zip(group, await self._outcomes(self._models[name], ids, read), strict=True):
                outcomes[place] = outcome
        return [outcome for outcome in outcomes if outcome is not None]

    def _flush(self, model: _Model) -> None:
        gathered, model.gathered = model.gathered, []
        task = asyncio.get_running_loop().create_task(self._answer(model, gathered))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, model: _Model, gathered: list[tuple[Request, Values, asyncio.Future[Answer]]]) -> None:
        ids, values = [request.id for request, _, _ in gathered], [own for _, own, _ in gathered]
        for (_, _, future), outcome in zip(gathered, await self._outcomes(model, ids, values), strict=True):
            if future.done():
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

    async def _outcomes(self, model: _Model, ids: list[str], values: list[Values]) -> list[Answer | Exception]:
        """An outcome each: what the kernel fails on is one of them, and the others get their answers."""
        try:
            batch, logged = await self._compute(model, ids, values)
        except Exception as error:
            if isinstance(error, HeadraceError) or len(ids) == 1:
                return [error] * len(ids)
            middle = len(ids) // 2
            first = await self._outcomes(model, ids[:middle], values[:middle])
            return first + await self._outcomes(model, ids[middle:], values[middle:])
        return [Answer(batch, row, logged) for row in range(len(ids))]

    def _admit(self, request: Request) -> None:
        """Refuse a request that no version can score, but for those that its first version is to learn from."""
        if not (request.id and self.versions.model(request.model).vectors == "requests"):
            self.versions.current(request.model)

    async def _compute(self, model: _Model, ids: list[str], values: list[Values]) -> tuple[Batch, bool]:
        """The scores of requests, and whether they are logged.

        Raises
        ------
        NoModelYet
            There is no version yet; the vectors of those that are named are logged, for it to learn from.
        """
        events = model.reader.columns(values, ids, self._clock())
        times = events.times
        down = False
        try:
            assembled = await model.source.assemble(events, times)
        except Unavailable:
            if self._store_down is StoreDown.FAIL:
                raise
            assembled, down = model.source.without_rows(events, times), True
        self.requests += len(ids)
        self.behind += assembled.behind
        made = (model.definition, ids, times.tolist(), assembled, model.source, down)
        version = self.versions.find(model.definition.name)
        if version is None:
            self._logged(Unscored(*made))
            raise NoModelYet(model.definition.name)
        texts = texts_of(assembled.categories, len(ids)) if assembled.categories else None
        batch = Batch(*made, version, version.score(assembled.numbers, texts))
        return batch, self._logged(batch)

    @contextmanager
    def _room(self, requests: int) -> Iterator[None]:
        if self._free <= 0:
            raise Overloaded("too many requests under way; send more slowly, or ask another scorer")
        self._free -= requests
        try:
            yield
        finally:
            self._free += requests

    def _logged(self, batch: Unscored) -> bool:
        """Log the rows that are named; False where there were some and they were not taken."""
        named = [row for row, own in enumerate(batch.ids) if own]
        if not named or self._log.offer(batch, named):
            return True
        self.not_logged += len(named)
        return False
