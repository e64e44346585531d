"""``headrace replay``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.replay_report import Counts, print_differences, print_vectors, sum_up
from headrace.cli.running_target import Target, broker_of, find, loop_options
from headrace.cli.sending import SourceFile, definition_of, progress
from headrace.errors import CorruptState, UnknownName
from headrace.wording import microseconds

if TYPE_CHECKING:
    import pulsar

    from headrace.definition import LoopDefinition, ModelDefinition
    from headrace.history.alterations import Alterations
    from headrace.history.comparison import Comparison
    from headrace.history.examples import ExampleAudit
    from headrace.history.replay import Replay
    from headrace.history.served_record import Selection
    from headrace.history.streams import StreamHistory
    from headrace.wire.topics import Topics


class _Time(click.ParamType):
    name = "TIME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no time: write it as in 2013-07-01 or 2013-07-01T12:30", param, ctx)
        return microseconds(moment)


class _EventId(click.ParamType):
    name = "STREAM=ID"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        stream, _, event_id = str(value).partition("=")
        if not stream or not event_id:
            self.fail(f"{value!r} is not of the form STREAM=ID, as in departed=UA1545", param, ctx)
        return stream, event_id


@dataclass(frozen=True)
class _Loop:
    """The location of a loop's logs, and the file that declares it, if that is known."""

    definition: LoopDefinition
    target: Target
    file: Path | None


@click.command("replay")
@click.option("--diff", is_flag=True, help="Print only results that differ from the logged ones, and why.")
@click.option("--model", "models", multiple=True, metavar="NAME", help="Only this model; repeatable.")
@click.option("--id", "ids", multiple=True, metavar="ID", help="Only the event of this id; repeatable.")
@click.option("--from", "start", type=_Time(), help="Only events from this time on.")
@click.option("--to", "end", type=_Time(), help="Only events before this time.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N vectors of each model.")
@click.option("--complete", is_flag=True, help="Use all events that the streams hold now, not the recorded cuts.")
@click.option(
    "--events",
    "altered",
    type=SourceFile(),
    multiple=True,
    help="What if: a file's events in the place of those of the same id; complete.",
)
@click.option("--without", type=_EventId(), multiple=True, help="What if: without this event; complete.")
@click.option("--relearn", is_flag=True, help="Learn all versions again, also those on the models topic.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON for each, and a summary line.")
@click.option("--pulsar", metavar="URL", help="The loop's broker, if the loop does not run on this machine.")
@click.option(
    "--definition",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The compiled loop, if it does not run on this machine.",
)
@click.option(
    "--loop-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The loop's file, to learn versions again, if it does not run on this machine.",
)
@loop_options
def command(
    *,
    diff: bool,
    models: tuple[str, ...],
    ids: tuple[str, ...],
    start: int | None,
    end: int | None,
    limit: int | None,
    complete: bool,
    altered: tuple[tuple[Path, str], ...],
    without: tuple[tuple[str, str], ...],
    relearn: bool,
    as_json: bool,
    pulsar: str | None,
    definition: Path | None,
    loop_file: Path | None,
    loop: str | None,
    data: Path | None,
    redis: str | None,
) -> int:
    """Compute vectors, predictions and examples again from the streams, the vectors at the cuts that they recorded.

    A score is computed by the version that gave it: from the models topic, or learned again from the examples log.
    With --diff, the examples log is compared with the examples that the vectors and labels make, and the exit code
    is 1 if anything differs from what was logged.

    \b
    Examples:
      headrace replay --id US2187-LGA-2013-01-06
      headrace replay --diff
      headrace replay --diff --from 2013-07-01 --to 2013-07-08 --events departed=altered.csv
    """
    from headrace.history.alterations import Alterations
    from headrace.history.served_record import Selection

    origin = _loop(pulsar, definition, loop_file, loop, data=data, redis=redis)
    alterations = Alterations()
    for path, stream in altered:
        alterations.read(origin.definition, stream, path)
    for stream, event in without:
        alterations.leave_out(origin.definition, stream, event)
    selection = Selection(frozenset(ids) or None, start, end, limit)
    definitions = _choose(origin.definition, models)
    totals: dict[str, Counts] = {}
    with broker_of(origin.target, pulsar) as (client, namespace), progress("replay") as show:
        reading = _Reading(client, namespace, origin, show, alterations=alterations, complete=complete, relearn=relearn)
        for model in definitions:
            replay, comparison = reading.of(model)
            totals[model.name] = _one(replay, comparison, selection, diff, as_json=as_json)
            if diff and not alterations and limit is None:
                audit = reading.audit(model)
                print_differences(audit.differences(selection), totals[model.name], as_json)
                totals[model.name].examples, totals[model.name].examples_left_out = audit.examples, audit.left_out
    selected = bool(ids) or start is not None or end is not None
    sum_up(totals, alterations, complete, diff, selected=selected, as_json=as_json)
    return 1 if diff and any(counts.differing for counts in totals.values()) else 0


class _Reading:
    """The replays of a loop's models, over one history of the streams."""

    def __init__(
        self,
        client: pulsar.Client,
        namespace: str,
        loop: _Loop,
        show: Callable[[int, str], None],
        *,
        alterations: Alterations,
        complete: bool,
        relearn: bool,
    ) -> None:
        from headrace.history.logs import BrokerLogs
        from headrace.history.streams import StreamHistory
        from headrace.wire.topics import Topics

        self._logs = BrokerLogs(client)
        self._loop = loop
        self._show = show
        self._alterations = alterations
        self._complete = complete
        self._relearn = relearn
        self._events = 0
        self._topics: Topics = Topics(loop.definition.name, namespace)
        self._streams: StreamHistory = StreamHistory(self._logs, self._topics, loop.definition, self._report_progress)

    def of(self, model: ModelDefinition) -> tuple[Replay, Comparison]:
        from headrace.history.comparison import Comparison
        from headrace.history.replay import Replay
        from headrace.history.served_record import LoggedModel
        from headrace.history.versions import PastVersions

        make = None if self._loop.file is None else _learner(self._loop.file, model)
        replay = Replay(
            self._loop.definition,
            model,
            self._streams,
            LoggedModel(self._logs, self._topics, model),
            versions=PastVersions(self._logs, self._topics, model, make, relearn=self._relearn),
            complete=self._complete,
            alterations=self._alterations,
        )
        return replay, Comparison(replay)

    def audit(self, model: ModelDefinition) -> ExampleAudit:
        from headrace.history.examples import ExampleAudit

        return ExampleAudit(self._loop.definition, model, self._streams, self._logs, topics=self._topics)

    def _report_progress(self, stream: str, count: int) -> None:
        self._events += count
        self._show(self._events, stream)


def _one(replay: Replay, comparison: Comparison, selection: Selection, diff: bool, *, as_json: bool) -> Counts:
    """Replay one model; print the results as they come."""
    counts = Counts()
    for replayed in replay.vectors(selection):
        counts.vectors += int(replayed.again.known.sum())
        counts.predictions += int((replayed.scores.scores == replayed.scores.scores).sum())
        counts.unscored += int((replayed.again.known & (replayed.predictions.versions < 0)).sum())
        counts.scored(replayed.scores)
        if diff:
            print_differences(comparison.of_vectors(replayed), counts, as_json)
        else:
            print_vectors(comparison, replayed, as_json)
    counts.asked, counts.foreign = replay.log.asked, replay.log.foreign
    if diff and not replay.alterations:
        for predictions, rescored in replay.requests(selection):
            counts.requests += int((rescored.scores == rescored.scores).sum())
            counts.scored(rescored)
            print_differences(comparison.of_requests(predictions, rescored), counts, as_json)
    return counts


def _loop(
    pulsar: str | None,
    definition: Path | None,
    loop_file: Path | None,
    loop: str | None,
    *,
    data: Path | None,
    redis: str | None,
) -> _Loop:
    """Return the definition, location and file of a loop: as given, or those of a loop on this machine."""
    from headrace.embedded.up_file import read_up_file

    if pulsar and definition:
        nowhere = Target("", "")
        return _Loop(definition_of(nowhere, definition), nowhere, loop_file)
    target = find(loop, data, redis)
    up = read_up_file(target.data) if target.data else None
    return _Loop(definition_of(target, definition), target, loop_file or (Path(up.loop_file) if up else None))


def _choose(loop: LoopDefinition, names: Sequence[str]) -> list[ModelDefinition]:
    if not names:
        return list(loop.models)
    titles = {model.title: model.name for model in loop.models}
    by_name = {model.name: model for model in loop.models}
    state_names = [titles.get(name, name) for name in names]
    for name in state_names:
        if name not in by_name:
            raise UnknownName("model", name, tuple(titles))
    return [by_name[name] for name in dict.fromkeys(state_names)]


def _learner(file: Path, model: ModelDefinition) -> Callable[[], Any]:
    """Return a maker of the model's pipelines; the file is run when the first one is needed."""

    def make() -> Any:
        from headrace import compiler

        loop = compiler.load(file)
        if loop.definition.model(model.name).hash != model.hash:
            raise CorruptState(f"model {model.name!r} in {file} is not that of the loop: nothing can be learned again")
        return loop.learner(model.name)

    return make
