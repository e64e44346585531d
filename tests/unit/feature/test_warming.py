"""A feature service computes with no event when it starts: that loads compiled code, and must not fail."""

from __future__ import annotations

import pytest

from headrace import compiler
from headrace.definition import LoopDefinition
from headrace.demo.demo import LOOP
from headrace_feature.decoder import warm
from tests.support.kernel_loop import loop


@pytest.mark.parametrize("definition", [loop(), compiler.load(LOOP).definition], ids=["kernel", "demo"])
def test_every_part_of_a_loop_computes_with_no_event(definition: LoopDefinition) -> None:
    warm(definition)
