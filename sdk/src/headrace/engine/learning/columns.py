"""The entries of a message in columns, in the form that a compiled learner reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headrace.wire.tables import Categories, Numbers


@dataclass(frozen=True)
class Columns:
    """The entries of a message.

    Attributes
    ----------
    kinds
        int8[n]: questions and answers; entries of any other kind are passed over.
    numbers
        float64[n, numbers]: NaN where missing.
    categories
        The columns of text: None or empty where missing.
    labels
        float64[n]: of answers; 0 or 1 if the task is binary.
    weights
        float64[n]: of answers.
    """

    kinds: npt.NDArray[np.int8]
    numbers: Numbers
    categories: Categories
    labels: Numbers
    weights: Numbers

    def __len__(self) -> int:
        return len(self.kinds)
