"""`headrace dead-letters` on a real broker and ingest service: it lists letters, resends them, and remembers them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace import embedded
from headrace.cli.program import run
from headrace.client import IngestClient
from headrace.runtime.pulsar.producer import Producer
from headrace.v1.dead_letter_pb2 import DeadLetter
from headrace.wire.position import Position
from tests.brokers import Place
from tests.integration.ingesting import HOUR, Ingesting, ingesting


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with embedded.store(tmp_path_factory.mktemp("store")) as server:
        yield server.url


class Letters:
    """The command, for the letters of one loop."""

    def __init__(self, ingest: Ingesting, capsys: pytest.CaptureFixture[str]) -> None:
        self.ingest = ingest
        self._capsys = capsys
        self._options = ["--redis", ingest.redis_url, "--pulsar", ingest.place.url, "--loop", ingest.loop.name]

    def __call__(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        assert run(["dead-letters", *arguments, *self._options]) == code
        return self._capsys.readouterr()

    def listed(self, *arguments: str) -> list[dict[str, str]]:
        return [json.loads(line) for line in self("list", "--json", *arguments)[0].splitlines()]

    def sent(self, stream: str, at_least: int = 0) -> list[str]:
        """Return the ids on a stream's topic."""
        payloads = self.ingest.written(self.ingest.topics.stream(stream), at_least).payloads
        return [json.loads(payload)["id"] for payload in payloads]


@pytest.fixture
def letters(
    tmp_path: Path,
    place: Place,
    redis_url: str,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Letters]:
    monkeypatch.setenv("HEADRACE_NAMESPACE", place.namespace)
    name = request.node.name.removeprefix("test_").translate({ord(sign): "-" for sign in "_[]: ={}"})[:60]
    with ingesting(tmp_path, place, redis_url, name) as ingest:
        yield Letters(ingest, capsys)


def event(id: str, amount: object = 1.5) -> dict[str, object]:
    return {"id": id, "at": HOUR, "user": "u", "amount": amount}


def letter(letters: Letters, id: str, stream: str = "clicks", **more: object) -> DeadLetter:
    """Return a letter as the fold writes it, for an event that ingest accepts."""
    values = {
        "stream": stream, "value": "poison to view 'v' (E: e)", "expected": "another", "service": "feature",
        "event": json.dumps(event(id)).encode(), "refused_at": 10**15,
        "topic": letters.ingest.topics.stream(stream), "position": Position(7, int(id), 0).to_bytes(),
    }  # fmt: skip
    return DeadLetter(**values | more)  # type: ignore[arg-type]


def write(letters: Letters, *dead_letters: DeadLetter) -> None:
    with letters.ingest.client() as client:
        producer = Producer(client, letters.ingest.topics.dead_letters)
        for one in dead_letters:
            producer.send(one.SerializeToString())
        producer.flush()


def test_a_letter_is_sent_again_and_then_done_with(letters: Letters) -> None:
    twice = letter(letters, "1")
    write(letters, letter(letters, "0"), twice, twice, letter(letters, "2", "buys"))
    listed = letters.listed()
    assert [(letter["stream"], letter["stood"]) for letter in listed] == [
        ("clicks", "7:0:0"), ("clicks", "7:1:0"), ("buys", "7:2:0"),
    ]  # fmt: skip
    out, err = letters("retry", listed[1]["position"])
    assert (out, err) == (f"{listed[1]['position']}  clicks: taken\n", "1 taken\n")
    assert letters.sent("clicks", 1) == ["1"]
    assert [letter["stood"] for letter in letters.listed()] == ["7:0:0", "7:2:0"]
    assert [letter["retried"] for letter in letters.listed("--retried")] == [None, "taken", None]
    out, err = letters("list")
    assert "1 more were retried: --retried shows them too" in err
    assert letters("list", "--retried")[0].splitlines()[1].endswith("expected another  (retried: taken)")
    assert letters("retry", "--stream", "buys")[0] == f"{listed[2]['position']}  buys: taken\n"
    assert json.loads(letters("retry", "--all", "--json")[0])["position"] == listed[0]["position"]
    assert letters("retry", "--all") == ("", "no dead letters to retry\n")
    assert (letters.sent("clicks", 2), letters.sent("buys", 1)) == (["1", "0"], ["2"])
    # Naming a letter sends it once more: its id makes that harmless.
    letters("retry", listed[1]["position"])
    assert letters.sent("clicks", 3) == ["1", "0", "1"]


def test_what_is_still_invalid_is_a_new_letter_and_the_old_one_done_with(letters: Letters) -> None:
    with IngestClient(letters.ingest.address) as client:
        client.publish_stream("clicks", [event("a"), event("b", "much"), b"{", event("c", None)])  # type: ignore[list-item]
    first = letters.listed()
    assert [letter["stood"] for letter in first] == [None] * 3
    assert "stood      on no topic: refused on its way in" in letters("show", first[0]["position"])[0]
    out, err = letters("retry", "--all", code=4)
    assert out.splitlines()[0] == (
        f"{first[0]['position']}  clicks: refused again: field 'amount' is \"much\", expected a finite number"
    )
    assert err == "headrace: 3 of 3 were refused again\n"
    second = letters.listed()
    assert [letter["event"] for letter in second] == [letter["event"] for letter in first]
    assert not {letter["position"] for letter in second} & {letter["position"] for letter in first}
    assert [letter["retried"] for letter in letters.listed("--retried")] == ["refused"] * 3 + [None] * 3
    text, bad, null = (letter["position"] for letter in second)
    assert letters("retry", text, "--set", "amount=2.5", "--set", "note=mended")[1] == "1 taken\n"
    assert "--set is for an event that is no JSON object" in letters("retry", bad, "--set", "amount=2", code=4)[1]
    letters("retry", bad, "--event", json.dumps(event("d")))
    letters("retry", null, "--set", "amount=0")
    assert letters.sent("clicks", 4) == ["a", "b", "d", "c"]
    assert letters.listed() == []
    mended = json.loads(letters.ingest.written(letters.ingest.topics.stream("clicks"), 4).payloads[1])
    assert (mended["amount"], mended["note"]) == (2.5, "mended")


def test_what_holds_no_event_cannot_be_sent(letters: Letters) -> None:
    vectors = letter(letters, "0", service="scorer", topic="persistent://public/default/x-m-features")
    write(letters, vectors, letter(letters, "1", "gone"), letter(letters, "2"))
    of_scorer, gone, good = (letter["position"] for letter in letters.listed())
    err = letters("retry", good, of_scorer, code=4)[1]
    assert err == (
        f"headrace: {of_scorer} is a dead letter of the scorer, expected one that holds an event of a stream: "
        "there is nowhere to send it\n"
    )
    out, err = letters("retry", "--all", code=4)
    assert "1 hold no event of a stream, and cannot be retried" in err
    lines = out.splitlines()
    assert lines[0].startswith(f"{gone}  gone: refused again: stream is 'gone', expected one of")
    assert lines[1] == f"{good}  clicks: taken"
    # No service judged it, so it waits for a loop that knows its stream.
    assert [letter["position"] for letter in letters.listed()] == [of_scorer, gone]


def test_what_is_not_shown_is_told(letters: Letters) -> None:
    write(letters, *(letter(letters, str(number)) for number in range(250)))
    out, err = letters("list", "--limit", "3")
    assert [line.split("  ")[0] for line in out.splitlines()] == [
        letter["position"] for letter in letters.listed()[-3:]
    ]
    assert err == "the newest 3 of 250: --limit shows more\n"
    assert letters("retry", "--all")[1] == "250 taken\n"
    assert letters.sent("clicks", 250) == [str(number) for number in range(250)]


@pytest.mark.parametrize(
    ("arguments", "code", "names"),
    [
        ([], 2, "by POSITION, or all of them"),
        (["1:2:3", "--all"], 2, "by POSITION, or all of them"),
        (["--all", "--set", "a=1"], 2, "selected by POSITION"),
        (["1:2:3", "1:2:4", "--event", "{}"], 2, "one POSITION"),
        (["1:2:3", "--set", "amount"], 2, "FIELD=VALUE"),
        (["first"], 4, "position is 'first'"),
        (["9:9:9"], 4, "position is '9:9:9'"),
    ],
)
def test_a_wrong_call_says_what_was_expected(arguments: list[str], code: int, names: str, letters: Letters) -> None:
    assert names in letters("retry", *arguments, code=code)[1]
