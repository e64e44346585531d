"""The ownership of a model's log: its epoch, and how often it is checked."""

from __future__ import annotations

import pytest

from headrace.errors import Fenced
from headrace_learner.ownership import Ownership
from tests.support.learner_fakes import MODEL, Servers


def test_each_ownership_has_an_epoch_that_later_owners_supersede() -> None:
    servers = Servers()
    former, later = (Ownership(servers, MODEL, clock=servers.clock) for _ in range(2))
    assert former.epoch == 0
    former.acquire()
    former.check()
    later.acquire()
    assert (former.epoch, later.epoch) == (1, 2)
    assert servers.steps == [("acquire", "learner-careful")] * 2
    later.check()
    with pytest.raises(Fenced):
        former.check()


def test_between_two_checks_of_the_owner_there_are_two_seconds() -> None:
    servers = Servers()
    ownership = Ownership(servers, MODEL, clock=servers.clock)
    ownership.acquire()
    servers.fenced = True
    servers.clock.now = 1.9
    ownership.check_if_due()
    servers.clock.now = 2.0
    with pytest.raises(Fenced):
        ownership.check_if_due()
    servers.clock.now = 3.9
    ownership.check_if_due()
