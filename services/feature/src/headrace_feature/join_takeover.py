"""The takeover of a model's join: its stored state, and what a changed definition or a lost state makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import structlog

from headrace.definition import ModelDefinition
from headrace.engine.kernel.join import Entry, Written, weigh
from headrace.errors import CorruptState
from headrace.runtime.redis.pairs import FormerRead, JoinState, PairStore
from headrace.wire.position import START
from headrace_feature.join_log import JoinLog
from headrace_feature.pulsar.outputs import ExamplesLog

_log = structlog.get_logger()


class TakenOverJoin(NamedTuple):
    """A join from which a new owner starts.

    Attributes
    ----------
    ids
        By number of a label topic, the ids seen, oldest first, with their event times.
    written
        By id and event time, the entries that the log holds, if the state is being rebuilt.
    """

    epoch: int
    state: JoinState
    ids: Mapping[int, Mapping[str, int]]
    written: dict[tuple[str, int], Written] | None


def take_over(model: ModelDefinition, pairs: PairStore, log: ExamplesLog, labels: Sequence[str]) -> TakenOverJoin:
    """Become the owner of a model's join.

    Parameters
    ----------
    labels
        The physical topics of the label's stream.

    Raises
    ------
    CorruptState
        The store has lost the join's state.
    """
    if not pairs.known() and log.holds_entries():
        raise CorruptState(
            f"the store has no state of the join of {model.name}, but {log.topic} holds examples: "
            "`headrace backfill` rebuilds the state from the logs"
        )
    epoch, state = pairs.take_over()
    join_log = JoinLog(model, log, epoch)
    if state.definition != model.hash or state.missed:
        # Send first: the definition before the change decided what the outbox holds.
        join_log.send_outbox(state)
        if _adopt_definition(model, state, labels):
            pairs.clear(epoch, state)
    written = _written_entries(join_log, state) if state.goals else None
    return TakenOverJoin(epoch, state, pairs.seen(), written)


def _adopt_definition(model: ModelDefinition, state: JoinState, labels: Sequence[str]) -> bool:
    """Change the state to the model's definition; return whether the waiting entries are of another one."""
    same_examples = state.examples == model.examples_hash and not state.missed
    # A new model has nothing to remake, and requests are not retained.
    state.remake = bool(state.definition) and model.vectors != "requests" and (not same_examples or state.remake)
    if state.remake and not same_examples:
        # If a definition returns, its own vectors are on the topic, but they have been passed.
        state.remake_until = {
            topic: FormerRead(event, state.positions.get(topic, START.to_bytes()))
            for topic, (_, event) in state.accepted.items()
        }
    reason = "questions missed" if state.missed else "model changed"
    state.outbox, state.missed = [], False
    state.definition, state.examples = model.hash, model.examples_hash
    if same_examples:
        return False  # only the learner changed: waiting entries stay valid
    waiting = state.weight.questions
    if waiting:
        _log.warning("waiting_questions_dropped", model=model.name, questions=waiting, reason=reason)
    state.weight = weigh("", Entry())
    # Labels that came before their question wait here, too, and the new definition may read other values from them.
    state.labels = {}
    state.reread = {topic: state.positions.pop(topic) for topic in labels if topic in state.positions}
    return True


def _written_entries(log: JoinLog, state: JoinState) -> dict[tuple[str, int], Written]:
    """Return what a lost state had decided, so that it is not written again while the state is rebuilt."""
    log.mark_epoch()
    content = log.content()
    state.sequence = max(state.sequence, content.sequence)
    return content.written
