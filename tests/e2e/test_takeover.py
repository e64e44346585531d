"""A loop with a changed model keeps answering: with the old version, until the new definition has learned as much."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import grpc
import pulsar
import pytest

from headrace import compiler, embedded
from headrace.cli.program import run
from headrace.embedded import RunningLoop
from headrace.runtime.pulsar.connection import partitions
from headrace.runtime.pulsar.log_reader import read_whole
from headrace.v1 import scoring_pb2, scoring_pb2_grpc
from headrace.wire.tables import predicted_questions
from headrace.wire.topics import Topics
from tests.deadline import scaled, until
from tests.support.renamed_shop import SECOND, START, send, write
from tests.support.takeovers import next_scorer

#: Seconds between two requests.
_EVERY_S = 0.02
_EXAMPLES = 600

_LEARNER = (("LogisticRegression(),", "LogisticRegression(l2=0.01),"),)
#: No vector of the new definition contains one of the old.
_FEATURES = (
    ("[sales, Asked.price]", '[sales, (Asked.price * 2).named("double")]'),
    ("publish_every=100,", "publish_every=100, takeover=700,"),
)


#: The old definition's vectors read rows that the new loop does not name.
_VIEW = (('windows=["1h"]', 'windows=["2h"]'), ("publish_every=100,", "publish_every=100, takeover=700,"))


class Requests(threading.Thread):
    """A thread that asks the scorer at `address` steadily until stopped, and notes which definitions answer."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self.address = address
        self.failures: list[str] = []
        self.answers: Counter[str] = Counter()
        self.definitions: list[str] = []
        self.first_examples: dict[str, int] = {}
        self._stopping = threading.Event()

    def stop(self) -> None:
        self._stopping.set()
        self.join()

    def run(self) -> None:
        channels: dict[str, scoring_pb2_grpc.ScoringServiceStub] = {}
        number = 0
        while not self._stopping.wait(_EVERY_S):
            address = self.address
            if address not in channels:
                channel = grpc.insecure_channel(address)
                channels[address] = scoring_pb2_grpc.ScoringServiceStub(channel)  # type: ignore[no-untyped-call]
            event = {"shop": f"s{number % 3}", "price": float(number % 7), "at": START + _EXAMPLES * SECOND}
            request = scoring_pb2.ScoreRequest(model="delay", event=json.dumps(event).encode())
            number += 1
            try:
                version = channels[address].Score(request, timeout=scaled(10)).version
            except grpc.RpcError as error:
                self.failures.append(str(error))
                continue
            self.answers[version.definition] += 1
            self.first_examples.setdefault(version.definition, version.examples)
            if self.definitions[-1:] != [version.definition]:
                self.definitions.append(version.definition)


def learned(loop: RunningLoop) -> int:
    """Return the number of examples in the version that the scorers answer with."""
    return max(
        (n for status in loop.status() if status.service == "scorer" for n in status.versions.values()), default=0
    )


def told(loop: RunningLoop, service: str) -> tuple[str, int, int] | None:
    """Return what a service reports of the takeover: the hash that answers, and the examples learned and needed."""
    found = [status.takeovers["delay"] for status in loop.status() if status.service == service and status.takeovers]
    return (found[0].answering, found[0].learned, found[0].needed) if found else None


def unserved(loop: RunningLoop) -> float:
    """Return how many answers no version is known to have predicted; -1 until one of the new definition is known."""
    [metrics] = [status.metrics.get("delay", {}) for status in loop.status() if status.service == "learner"]
    return metrics.get("unserved") or 0.0 if "served" in metrics else -1.0


@pytest.mark.parametrize(
    ("edits", "needed"),
    [(_LEARNER, _EXAMPLES), (_FEATURES, 700), (_VIEW, 700)],
    ids=["learner", "features", "view"],
)
def test_no_request_fails_while_a_changed_model_learns(
    tmp_path: Path, edits: tuple[tuple[str, str], ...], needed: int
) -> None:
    before, after = write(tmp_path, "shop.py"), write(tmp_path, "changed.py", *edits)
    with (
        embedded.broker(tmp_path / "broker") as broker,
        embedded.store(tmp_path / "store") as store,
        ExitStack() as closing,
    ):
        up = partial(embedded.run, data=tmp_path / "data", pulsar=broker.url, redis=store.url)
        with up(before) as loop:
            send(loop, range(_EXAMPLES))
            until(lambda: learned(loop) >= _EXAMPLES - 100, seconds=120)
            old = loop.definition.models[0].hash
            requests = Requests(loop.addresses["scorer"])
            requests.start()
            until(lambda: requests.answers[old] > 20)
            requests.address = closing.enter_context(next_scorer(compiler.load(after).definition, loop, tmp_path))
            count = requests.answers.total()
            until(lambda: requests.answers.total() > count + 20 or requests.failures)
        with up(after) as loop:
            new = loop.definition.models[0].hash
            if edits is not _LEARNER:
                # All examples that were learned before are made again, and more are needed.
                expected = (old, _EXAMPLES, needed)
                for service in ("learner", "scorer"):
                    until(lambda: new in requests.definitions or told(loop, service) == expected, seconds=120)  # noqa: B023
                assert new not in requests.definitions
                count = requests.answers[old]
                until(lambda: requests.answers[old] > count + 20)
                assert new not in requests.definitions
            send(loop, range(_EXAMPLES, _EXAMPLES + 300))
            until(lambda: requests.answers[new] > 20, seconds=120)
            until(lambda: told(loop, "scorer") is None, seconds=120)
            if edits is _LEARNER:
                # The new definition may have learned all of the events above before it first answered.
                send(loop, range(_EXAMPLES + 300, _EXAMPLES + 400))
                # A version answered every question, so examples that are learned again do not count as unserved.
                until(lambda: unserved(loop), lambda left: left == 0, seconds=60)
            requests.stop()
    assert requests.failures == []
    assert requests.definitions == [old, new]
    assert requests.first_examples[new] >= needed


def test_a_changed_view_is_folded_in_both_forms_until_the_switch(tmp_path: Path) -> None:
    before, after, data = write(tmp_path, "shop.py"), write(tmp_path, "changed.py", *_VIEW), tmp_path / "data"
    with embedded.run(before, data=data) as loop:
        send(loop, range(_EXAMPLES))
        until(lambda: learned(loop) >= _EXAMPLES - 100, seconds=120)
        old = loop.definition.models[0].hash
    both = "folds sales in its former form, too"
    with embedded.run(after, data=data) as loop:
        until(lambda: told(loop, "scorer") == (old, _EXAMPLES, 700), seconds=120)
        # The old form is still folded.
        send(loop, range(_EXAMPLES, _EXAMPLES + 60))
        until(lambda: sales(loop, 660) == {"sales.count.1h": 220.0}, seconds=120)
        until(lambda: any(both in status.note for status in loop.status()))
        send(loop, range(_EXAMPLES + 60, _EXAMPLES + 300))
        until(lambda: told(loop, "scorer") is None, seconds=120)
        assert sales(loop, 900) == {"sales.count.2h": 300.0}
        until(lambda: not any(both in status.note for status in loop.status()), seconds=60)
        # Each event that arrived meanwhile has one prediction, by the definition that answered then.
        came = {str(number) for number in range(_EXAMPLES, _EXAMPLES + 300)}
        found = until(lambda: predicted(loop), came.issubset, seconds=60)
        assert [found[str(number)] for number in range(_EXAMPLES, _EXAMPLES + 60)] == [[old]] * 60
        assert all(len(definitions) == 1 for definitions in found.values())
    with embedded.run(after, data=data) as loop:
        until(lambda: learned(loop) >= 700, seconds=60)
        assert not any(both in status.note for status in loop.status())


def predicted(loop: RunningLoop) -> dict[str, list[str]]:
    """Return the definitions that predicted each event of the stream, by event id."""
    found: dict[str, list[str]] = {}
    client = pulsar.Client(loop.pulsar_url, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, "/dev/null"))
    topic = Topics("shop", loop.namespace).predictions("delay")
    for batch in (batch for physical in partitions(client, topic) for batch in read_whole(client, physical)):
        for payload, properties in zip(batch.payloads, batch.properties, strict=True):
            for id in predicted_questions(payload)[0] if payload else []:
                found.setdefault(id, []).append(properties["definition"])
    client.close()
    return found


def sales(loop: RunningLoop, at: int) -> dict[str, float]:
    """Return the sales of a shop in the vector of a request, by feature, as the answering version has them."""
    event = {"shop": "s0", "price": 1.0, "at": START + at * SECOND}
    request = scoring_pb2.ScoreRequest(model="delay", event=json.dumps(event).encode(), explain=True)
    with grpc.insecure_channel(loop.addresses["scorer"]) as channel:
        vector = scoring_pb2_grpc.ScoringServiceStub(channel).Score(request, timeout=scaled(10)).vector  # type: ignore[no-untyped-call]
    return {value.name: value.number for value in vector if value.name.startswith("sales")}


def test_all_that_is_kept_is_enough_where_it_is_less_and_nothing_comes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fewer = ('value=Sold.late, within="1h")', 'value=Sold.late, within="1h", keep={False: 0.2})')
    before, after, data = write(tmp_path, "shop.py"), write(tmp_path, "changed.py", fewer), tmp_path / "data"
    with embedded.run(before, data=data) as loop:
        send(loop, range(_EXAMPLES))
        until(lambda: learned(loop) >= _EXAMPLES - 100, seconds=120)
    numbers = [number for number in range(_EXAMPLES) if number % 7 > 3 or share(str(number)) < 0.2]
    with embedded.run(after, data=data) as loop:
        until(lambda: told(loop, "scorer") is None and learned(loop) == len(numbers), seconds=120)
        capsys.readouterr()
        assert run(["replay", "--diff", "--data", str(data)]) == 0
        assert f"{len(numbers)} examples" in capsys.readouterr().out


def share(id: str) -> float:
    """Return the place of an id among all, by which `keep` chooses."""
    return int(hashlib.sha256(id.encode()).hexdigest()[:16], 16) / 2**64
