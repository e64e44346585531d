"""Feast with Redis: the features alone, by its SDK in this process or by its HTTP server.

    python server.py DIRECTORY STORE_URL PORT sdk|http

The SDK is a library, so this process measures it by itself: it reads a command a line, as JSON, and answers each with a
line. The commands are those of `FeastSdk` in `client.py`.
"""

import json
import os
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

os.environ |= {"FEAST_USAGE": "False", "FEAST_TELEMETRY": "False"}

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast.types import Float64
from feast.value_type import ValueType

FIELDS = ("user", "card", "shop", "city", "device")


def make_store(directory: Path, url: str) -> FeatureStore:
    """Define the views, and write the values to the online store, unless another server of this run has done it."""
    address = urlsplit(url)
    folder = directory / "feast"
    folder.mkdir(exist_ok=True)
    config = RepoConfig(
        project="peers",
        provider="local",
        registry=str(folder / "registry.db"),
        online_store={"type": "redis", "connection_string": f"{address.hostname}:{address.port},db=1"},
        offline_store={"type": "file"},
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    if not (folder / "filled").exists():
        fill(store, directory, folder)
        (folder / "filled").touch()
    return store


def fill(store: FeatureStore, directory: Path, folder: Path) -> None:
    entities = {field: Entity(name=field, join_keys=[field], value_type=ValueType.STRING) for field in FIELDS}
    source = FileSource(path=str(folder / "none.parquet"), timestamp_field="at")
    values = json.loads((directory / "values.json").read_text())
    views = {
        view["view"]: FeatureView(
            name=view["view"],
            entities=[entities[view["entity"]]],
            schema=[Field(name=feature, dtype=Float64) for feature in view["features"]],
            source=source,
            ttl=None,
        )
        for model in json.loads((directory / "models.json").read_text()).values()
        for view in model
    }
    store.apply([*entities.values(), *views.values()])
    for name, view in views.items():
        frame = pd.DataFrame.from_dict(values[name], orient="index")
        frame[view.join_keys[0]] = frame.index
        frame["at"] = datetime.now(UTC)
        store.write_to_online_store(name, frame.reset_index(drop=True))


class Sdk:
    """Calls the SDK, and measures each call."""

    def __init__(self, store: FeatureStore, directory: Path) -> None:
        self._store = store
        self._models = json.loads((directory / "models.json").read_text())
        self._requests = json.loads((directory / "requests.json").read_text())

    def values(self, model: str, numbers: list[int]) -> dict[str, list[Any]]:
        views = self._models[model]
        answer = self._store.get_online_features(
            features=[f"{view['view']}:{feature}" for view in views for feature in view["features"]],
            entity_rows=[
                {view["entity"]: self._requests[number][view["entity"]] for view in views} for number in numbers
            ],
        )
        values: dict[str, list[Any]] = answer.to_dict()
        return values

    def call(self, model: str, size: int) -> float:
        first = random.randrange(len(self._requests) - size)
        start = time.perf_counter()
        self.values(model, list(range(first, first + size)))
        return time.perf_counter() - start

    def answer(self, command: dict[str, Any]) -> Any:
        model = command["model"]
        if command["do"] == "values":
            return self.values(model, command["numbers"])
        if command["do"] == "times":
            return [self.call(model, command["size"]) for _ in range(command["calls"])]
        start = time.perf_counter()
        with ThreadPoolExecutor(command["in_flight"]) as pool:
            list(pool.map(lambda _: self.call(model, 1), range(command["calls"])))
        return command["calls"] / (time.perf_counter() - start)


def main(directory: Path, url: str, port: int, interface: str) -> None:
    store = make_store(directory, url)
    if interface == "http":
        # Its workers would end after a thousand requests, and their connections with them.
        store.serve("127.0.0.1", port, "http", True, workers=1, max_requests=0, max_requests_jitter=0)
        return
    sdk = Sdk(store, directory)
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(sdk.answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4])
