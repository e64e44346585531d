"""The feature service without ids: it knows no event that was sent again."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.events.columns import EventColumns
from headrace.kernel.partition import Partition, Refused
from headrace_feature.__main__ import main


def forget_ids() -> None:
    """Remember no id from one batch to the next."""
    accept = Partition.accept

    def forgetful(
        self: Partition, events: EventColumns, positions: Sequence[tuple[int, int, int]], now: int
    ) -> list[Refused]:
        self.seen.clear()
        return accept(self, events, positions, now)

    Partition.accept = forgetful  # type: ignore[method-assign]


if __name__ == "__main__":
    forget_ids()
    main()
