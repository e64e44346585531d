"""The feature service without ids: it does not recognise an event that is sent again."""

from __future__ import annotations

from typing import Any

from headrace.engine.events.columns import EventColumns
from headrace.engine.kernel.partition import Partition, Refused
from headrace_feature.__main__ import main


def forget_ids() -> None:
    """Forget all ids between batches."""
    accept = Partition.accept

    def forgetful(self: Partition, events: EventColumns, *arguments: Any, **options: Any) -> list[Refused]:
        self.seen.clear()
        return accept(self, events, *arguments, **options)

    Partition.accept = forgetful  # type: ignore[method-assign]


if __name__ == "__main__":
    forget_ids()
    main()
