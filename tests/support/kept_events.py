"""Events and labels that a stream keeps, for remaking."""

from __future__ import annotations

import random

from msgspec import structs

from headrace.definition import Column, FieldType, Keep, LabelDefinition, LoopDefinition
from tests.support.kernel_loop import SECOND, START, Event
from tests.unit.history.served import Served

WAIT = 20 * SECOND


FIRST = LabelDefinition("label", "b", "a", "k", Column("x"), FieldType.BOOL, WAIT)


LABELS = {
    "first": FIRST,
    "corrected": structs.replace(FIRST, correct=True),
    "absent": structs.replace(FIRST, absent=0.0),
    "corrected or absent": structs.replace(FIRST, correct=True, absent=0.0),
    "thinned out": structs.replace(FIRST, absent=0.0, keep=(Keep(0.0, 0.3),)),
    "forecast": structs.replace(FIRST, after=4 * SECOND),
    "known later": structs.replace(FIRST, known_at="known"),
    "known later, corrected or absent": structs.replace(FIRST, known_at="known", correct=True, absent=0.0),
}


def events(seed: int, count: int = 300) -> list[Event]:
    """Generate questions of three entities, and other events: about these entities, or labels by id; some are late."""
    chance = random.Random(seed)
    found = []
    for number in range(count):
        at = START + number * SECOND // 2 - chance.choice((0, 0, 0, 2, 4)) * SECOND
        if number % 2:
            labelled = chance.choice(("p", "q", "r", f"a{max(number - chance.randrange(60), 0) // 2 * 2}"))
            found.append(Event("b", f"b{number}", at, labelled, float(chance.random() < 0.4)))
        else:
            found.append(Event("a", f"a{number}", at, chance.choice("pqr"), float(number)))
    return found


def labelled(served: Served, label: LabelDefinition) -> LoopDefinition:
    entity = "k" if label.after is not None else ""
    return structs.replace(
        served.loop, labels=(label,), models=(structs.replace(served.loop.models[0], entity=entity),)
    )
