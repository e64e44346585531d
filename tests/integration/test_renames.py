"""Rows of a renamed view are read, and rows of another view are not: on a real store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from headrace import compiler, embedded
from headrace.definition import LoopDefinition
from headrace.engine.kernel.partition import PartitionId, Progress, Reached, RowsId
from headrace.runtime.redis.connection import connect
from headrace.runtime.redis.partitions import PartitionStore, view_names
from headrace.runtime.redis.rows import RowStore, Write

LOOP = """
from datetime import datetime
from headrace import Count, Loop, Stream, View

Loop("shop")

class Sold(Stream, key="shop", time="at", id="id"):
    id: str
    at: datetime
    shop: str

{name} = View(Sold, by="shop", windows=["1h"], aggregates={{"count": Count()}}{was})
"""
SOLD = PartitionId("sold", 0)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    with embedded.store(tmp_path_factory.mktemp("store")) as server:
        client = connect(server.url)
        yield client
        client.close()


def load(folder: Path, name: str, was: str = "") -> LoopDefinition:
    file = folder / f"{name}.py"
    file.write_text(LOOP.format(name=name, was=f', was="{was}"' if was else ""))
    return compiler.load(file).definition


def rows_of(loop: LoopDefinition) -> RowsId:
    return RowsId(loop.views[0].name, SOLD.partition)


def test_rows_of_a_renamed_view_are_read(store: redis.Redis, tmp_path: Path) -> None:
    before, renamed, other = load(tmp_path, "sales"), load(tmp_path, "sold_here", "sales"), load(tmp_path, "takings")
    row = bytes(28) + b"row"
    RowStore(store, before).write([Write(rows_of(before), {"s1": row})], "sold", 1)
    for loop, found in ((renamed, {"s1": row}), (other, {})):
        assert RowStore(store, loop).load({rows_of(loop): ["s1"]}) == {rows_of(loop): found}


def test_a_renamed_view_is_not_folded_again(store: redis.Redis, tmp_path: Path) -> None:
    before, renamed, other = load(tmp_path, "sales"), load(tmp_path, "sold_here", "sales"), load(tmp_path, "takings")
    partitions = PartitionStore(store, "shop")
    epoch = partitions.take_over(SOLD).epoch
    views = view_names(before, "sold")
    partitions.save(SOLD, epoch, Progress(), Reached(), ids={}, oldest=0, views=views, models=(), most_ids=1_000)
    parts = partitions.parts(SOLD)
    assert parts is not None
    held, _ = parts
    assert view_names(renamed, "sold") <= held
    assert not view_names(other, "sold") <= held
