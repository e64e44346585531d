"""What all tests share: hypothesis without a clock."""

from __future__ import annotations

from hypothesis import settings

# The first example pays for compiling the kernel: no deadline. Derandomised, so that a run can be repeated.
settings.register_profile("headrace", deadline=None, derandomize=True)
settings.load_profile("headrace")
