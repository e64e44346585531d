"""A confidence sequence for the mean difference of two candidates' losses: valid at every example at once.

Notes
-----
Let xᵢ be the champion's loss minus the challenger's on example i, μᵢ its expectation given all examples before i, and
Δₜ = Σᵢ μᵢ / t, the mean that the sequence bounds; the μᵢ may change in any way. Let g be an anchor, and c a scale with
xᵢ - g ≥ -c. Then, with yᵢ = (xᵢ - g) / c and a constant bet 0 < λ < 1,

    E[(1 + λ yᵢ) exp(-λ (μᵢ - g) / c)] = (1 + λ (μᵢ - g) / c) exp(-λ (μᵢ - g) / c) ≤ 1,

so the product of these factors is a supermartingale. So is its mixture over bets λₖ with weights wₖ, and Ville's
inequality gives, with probability 1 - α and for all t at once,

    Σₖ wₖ Kₖ(t) exp(-λₖ t (Δₜ - g) / c) < 1 / α,    where Kₖ(t) = Πᵢ (1 + λₖ yᵢ) is the capital of bet k.

The left side falls in Δₜ, so this bounds Δₜ from below; Δₜ > g is shown when Σₖ wₖ Kₖ(t) reaches 1 / α.

This is the empirical Bernstein confidence sequence of Choe and Ramdas, *Comparing Sequential Forecasters*
(arXiv 2110.00115), theorem 2, which is theorem 4 of Howard, Ramdas, McAuliffe and Sekhon, *Time-uniform,
nonparametric, nonasymptotic confidence sequences* (2021), without its last step: they bound the factor from below,
1 + λ y ≥ exp(λ y - ψ(λ) y²), to need sums alone. The product itself is larger, so the interval is narrower. The mixture
is lemma 2 of Howard et al., with finitely many bets. Bets that follow the data, as in Waudby-Smith and Ramdas (2024),
bound a mean that is constant, and are not valid for Δₜ.

A capital is computed by additions and multiplications in the order of the examples, which IEEE 754 rounds alike
everywhere. Only the ends of an interval take logarithms.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator

import msgspec
import numpy as np

from headrace.engine.arrays import Bools, Floats
from headrace.engine.quality.arithmetic import total

#: Bets, as shares of the largest one that cannot lose everything: one is within √2 of the best for each ratio of
#: difference and variance, from a tenth of the range down to less than a thousandth of it.
BETS: Floats = np.array([0.9 * 0.5**k for k in range(12)])
#: Their weights in the mixture, falling like 1 / k: large bets decide first, where few examples suffice.
WEIGHTS: Floats = np.array([1.0 / k for k in range(1, 13)]) / math.fsum(1.0 / k for k in range(1, 13))

# Number of examples after which capitals are scaled; a product of so many factors neither overflows nor vanishes.
_CHUNK = 256
# Newton's steps towards the end of an interval. Each one is a valid end, and closer than the one before.
_STEPS = 8
# A power of two times which no capital of a chunk is above 1.
_FAR = 900


class Capital(msgspec.Struct):
    """The capital of each bet that the mean of some values yᵢ ≥ -1 is above 0: a mantissa times a power of two."""

    examples: int = 0
    mantissas: list[float] = msgspec.field(default_factory=lambda: [1.0] * len(BETS))
    exponents: list[int] = msgspec.field(default_factory=lambda: [0] * len(BETS))

    def bet(self, values: Floats, target: float) -> Bools:
        """Follow the next values, and return after which of them the mixture is at least `target`."""
        reached = np.zeros(len(values), np.bool_)
        for chunk in self._chunks(len(values)):
            factors = np.multiply.outer(BETS, values[chunk])
            factors += 1.0
            factors[:, 0] *= self.mantissas
            path = np.multiply.accumulate(factors, axis=1, out=factors)
            reached[chunk] = self._mixture(path) >= math.ldexp(target, min(-max(self.exponents), _FAR))
            self._keep(path[:, -1], chunk.stop - chunk.start)
        return reached

    def _chunks(self, size: int) -> Iterator[slice]:
        """Cut values where capitals are scaled, so that these places do not depend on the batches."""
        start = 0
        while start < size:
            stop = min(size, start + _CHUNK - self.examples % _CHUNK)
            yield slice(start, stop)
            start = stop

    def _mixture(self, path: Floats) -> Floats:
        """Return the weighted sum of the capitals, in units of the largest power of two, added bet after bet."""
        scales = np.ldexp(WEIGHTS, np.array(self.exponents) - max(self.exponents))
        return np.asarray(np.add.accumulate(path * scales[:, None], axis=0)[-1], np.float64)

    def _keep(self, capitals: Floats, examples: int) -> None:
        self.examples += examples
        if self.examples % _CHUNK == 0:
            capitals, shifts = np.frexp(capitals)
            self.exponents = [exponent + shift for exponent, shift in zip(self.exponents, shifts.tolist(), strict=True)]
        self.mantissas = capitals.tolist()

    def lower_end(self, target: float) -> float:
        """Return the largest mean of the values' expectations that is refuted at `target`; at least -∞."""
        if not self.examples:
            return -math.inf
        slopes = (BETS * self.examples).tolist()
        logs = [
            math.log(weight) + math.log(mantissa) + exponent * math.log(2.0) - math.log(target)
            for weight, mantissa, exponent in zip(WEIGHTS.tolist(), self.mantissas, self.exponents, strict=True)
        ]
        # The sum of all bets refutes what one of them refutes; it is convex, so Newton's steps never go too far.
        end: float = max(log / slope for log, slope in zip(logs, slopes, strict=True))
        for _ in range(_STEPS):
            terms = [math.exp(log - slope * end) for log, slope in zip(logs, slopes, strict=True)]
            excess = math.log(math.fsum(terms))
            end += excess * math.fsum(terms) / math.fsum(map(operator.mul, terms, slopes))
        return end


class ConfidenceSequence(msgspec.Struct):
    """Bounds for the mean of the conditional expectations of differences.

    Attributes
    ----------
    width
        No difference is further from 0.
    anchor
        The mean that the lower end is compared with: there the interval is narrowest.
    """

    width: float
    anchor: float
    sum: float = 0.0
    above: Capital = msgspec.field(default_factory=Capital)
    below: Capital = msgspec.field(default_factory=Capital)

    @property
    def examples(self) -> int:
        """The number of differences so far."""
        return self.above.examples

    @property
    def mean(self) -> float:
        """The mean of the differences; 0 before the first."""
        return self.sum / self.examples if self.examples else 0.0

    def update(self, differences: Floats, error: float) -> Bools:
        """Follow the next differences.

        Returns
        -------
        After which of them the lower end, which is too high with a probability of at most `error`, is above the anchor.
        """
        inside = np.clip(differences, -self.width, self.width)
        self.sum = total(self.sum, inside)
        self.below.bet((self.anchor - inside) / (self.width - self.anchor), math.inf)
        return self.above.bet((inside - self.anchor) / (self.width + self.anchor), 1.0 / error)

    def interval(self, error: float) -> tuple[float, float]:
        """Return both ends, each of which is wrong, at any time, with a probability of at most `error`."""
        lower = self.anchor + (self.width + self.anchor) * self.above.lower_end(1.0 / error)
        upper = self.anchor - (self.width - self.anchor) * self.below.lower_end(1.0 / error)
        return max(lower, -self.width), min(upper, self.width)
