"""How the probability of a wrong decision is spent over the comparisons of a model."""

from __future__ import annotations


def share(error_rate: float, number: int) -> float:
    """Return the share of the error rate that comparison `number` = 1, 2, ... may spend: error_rate / (n (n + 1)).

    Notes
    -----
    The shares of all comparisons add up to the error rate; comparisons 1 to n leave error_rate / (n + 1). By the union
    bound the probability that any of them ever decides wrongly is at most the error rate, however many there are and
    however they depend on each other: a comparison's share is fixed when it begins.

    The number of examples that a decision takes grows with ln(1 / share), about 2 ln n: the hundredth comparison takes
    two to three times the examples of the first one. 6 / (π² n²) has the same tail and gives the first comparison .61
    instead of .5. A series with a fatter tail, such as 1 / (n ln² n), takes that from the first comparisons, the only
    ones that most models have.

    Examples
    --------
    >>> share(0.01, 1), share(0.01, 4)
    (0.005, 0.0005)
    """
    return error_rate / (number * (number + 1))
