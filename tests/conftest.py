"""What all tests share: hypothesis without a clock, and the brokers."""

from __future__ import annotations

from hypothesis import settings

from tests.brokers import broker, module_place, official, official_place, place, runs

__all__ = ["broker", "module_place", "official", "official_place", "place", "runs"]

# The first example pays for compiling the kernel: no deadline. Derandomised, so that a run can be repeated.
settings.register_profile("headrace", deadline=None, derandomize=True)
settings.load_profile("headrace")
