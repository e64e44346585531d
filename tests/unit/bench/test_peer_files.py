"""The work and the environments of the peers."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.definition import Aggregate
from tests.bench.peers.environments import NAMES, PEERS, fingerprint, is_current
from tests.bench.peers.workload import MODELS, features_by_view, make_workload, peers_loop


@pytest.mark.parametrize(("model", "views"), [("one", 1), ("five", 5), ("twenty", 20)])
def test_each_model_has_twenty_features_of_its_views(model: str, views: int) -> None:
    loop = peers_loop()
    by_view = features_by_view(loop, model)
    assert len(by_view) == views
    assert [name for names in by_view.values() for name in names] == [
        feature.name for feature in loop.model(model).features if isinstance(feature.value, Aggregate)
    ]
    assert sum(map(len, by_view.values())) == 20


def test_a_vector_has_the_values_of_the_entities_in_the_request() -> None:
    event = {name: f"{name}{number}" for number, name in enumerate(("user", "card", "shop", "city", "device"))}
    workload = make_workload(peers_loop(), [{**event, "id": "1", "at": 1, "amount": 4.5}])
    for model in MODELS:
        vector = workload.vector(model, 0)
        assert len(vector) == 21
        assert vector[-1] == 4.5
    assert workload.vector("five", 0)[4:8] == list(workload.values["five_card"]["card1"].values())


def test_every_peer_has_a_lock_file_and_a_server() -> None:
    assert {file.parent.name for file in PEERS.glob("*/requirements.in")} == set(NAMES)
    assert {file.parent.name for file in PEERS.glob("*/requirements.lock")} == set(NAMES)
    assert {file.parent.name for file in PEERS.glob("*/server.py")} == set(NAMES)


def test_an_environment_is_made_again_when_its_lock_file_changes(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("one==1\n")
    assert not is_current(tmp_path, lock)
    (tmp_path / "installed").write_text(fingerprint(lock))
    assert is_current(tmp_path, lock)
    lock.write_text("one==2\n")
    assert not is_current(tmp_path, lock)
