"""A rename changes names in the file, and no state."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from headrace.compiler import LoadedLoop, explain
from headrace.definition import LoopDefinition
from headrace.runtime.redis.partitions import view_names
from headrace.runtime.redis.rows import row_field
from headrace.wire.topics import Topics

Edit = tuple[str, str]

#: New names for every part of the loop that can be renamed.
RENAMES: tuple[Edit, ...] = (
    ("carrier_delay = View(\n    Arrived,\n", 'airline = View(\n    Arrived,\n    was="carrier_delay",\n'),
    ('late = Label(Arrived, of=Scheduled, value=col("delay_min") > 15, within="48h")',
     'tardy = Label(Arrived, of=Scheduled, value=col("delay_min") > 15, within="48h", was="late")'),
    ('"late_arrival",\n', '"tardy_arrival",\n    was="late_arrival",\n'),
    ("label=late,", "label=tardy,"),
    ("        carrier_delay,\n        Scheduled.distance,\n",
     '        airline,\n        airline["mean", "3h"].signed_log().named("log"),\n'
     '        col(Scheduled.distance).named("miles", was="distance"),\n'),
)  # fmt: skip

#: The same features under the old names.
BEFORE: Edit = (
    "        Scheduled.distance,\n",
    '        carrier_delay["mean", "3h"].signed_log().named("log"),\n        Scheduled.distance,\n',
)


@pytest.fixture
def pair(loaded: Callable[..., LoadedLoop]) -> tuple[LoopDefinition, LoopDefinition]:
    """Return the loop before and after the renames."""
    return loaded(BEFORE, name="flights/loop.py").definition, loaded(*RENAMES, name="flights/loop.py").definition


def test_renamed_parts_keep_their_hashes(pair: tuple[LoopDefinition, LoopDefinition]) -> None:
    before, after = pair
    assert [view.hash for view in after.views] == [view.hash for view in before.views]
    [old], [new] = before.models, after.models
    assert (new.hash, new.examples_hash, new.sources) == (old.hash, old.examples_hash, old.sources)


def test_renamed_parts_keep_their_topics_and_store_keys(pair: tuple[LoopDefinition, LoopDefinition]) -> None:
    before, after = pair
    [model], topics = after.models, Topics(before.name)
    assert topics.examples(model.name) == "persistent://public/default/flights-late_arrival-examples"
    assert view_names(after, "arrived") == view_names(before, "arrived")
    assert row_field(after.views[0], 3) == row_field(before.views[0], 3)


def test_renamed_features_keep_their_columns(pair: tuple[LoopDefinition, LoopDefinition]) -> None:
    before, after = pair
    [old], [new] = before.models, after.models
    assert [feature.name for feature in new.features] == [feature.name for feature in old.features]
    assert [feature.title for feature in new.features] == ["airline.mean.3h", "airline.mean.24h", "log", "miles"]


def test_the_explanation_has_the_new_names(pair: tuple[LoopDefinition, LoopDefinition]) -> None:
    text = explain(pair[1])
    assert "model tardy_arrival, which was late_arrival: its state keeps that name" in text
    assert "tardy on scheduled: binary" in text
    assert "airline.mean.3h.signed_log" in text
    assert "carrier_delay.mean" not in text


def test_a_learner_is_found_by_the_name_of_its_state(loaded: Callable[..., LoadedLoop]) -> None:
    loop = loaded(*RENAMES)
    assert loop.learner(loop.definition.models[0].name) is not None


def test_a_changed_feature_beside_a_rename_still_changes_the_hash(
    loaded: Callable[..., LoadedLoop], pair: tuple[LoopDefinition, LoopDefinition]
) -> None:
    changed = loaded(*RENAMES, ('was="distance"', 'was="miles_flown"')).definition
    assert changed.models[0].hash != pair[0].models[0].hash
