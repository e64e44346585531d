"""Reading a loop's logs again: replay of what was served, audits, backfill, comparison of definitions.

The names are loaded when they are first used; they need the extra `headrace[loop]`.
"""

from typing import TYPE_CHECKING

from headrace.extras import load_name

if TYPE_CHECKING:
    from headrace.history.alterations import Alterations
    from headrace.history.backfill import Backfill, Begun, StateIsThere
    from headrace.history.changes import Change, Facts, KeptEvents, Outcome, compare
    from headrace.history.comparison import Comparison
    from headrace.history.differences import Difference
    from headrace.history.examples import ExampleAudit
    from headrace.history.facts import FactFinder
    from headrace.history.logs import BrokerLogs, Logs
    from headrace.history.replay import Recomputed, Replay, Replayed
    from headrace.history.served_record import LoggedModel, LoggedPredictions, LoggedVectors, Selection
    from headrace.history.streams import StreamHistory
    from headrace.history.versions import PastVersions, Rescored

__all__ = [
    "Alterations",
    "Backfill",
    "Begun",
    "BrokerLogs",
    "Change",
    "Comparison",
    "Difference",
    "ExampleAudit",
    "FactFinder",
    "Facts",
    "KeptEvents",
    "LoggedModel",
    "LoggedPredictions",
    "LoggedVectors",
    "Logs",
    "Outcome",
    "PastVersions",
    "Recomputed",
    "Replay",
    "Replayed",
    "Rescored",
    "Selection",
    "StateIsThere",
    "StreamHistory",
    "compare",
]

_MODULES = {
    "Alterations": "alterations",
    "Backfill": "backfill",
    "Begun": "backfill",
    "BrokerLogs": "logs",
    "Change": "changes",
    "Comparison": "comparison",
    "Difference": "differences",
    "ExampleAudit": "examples",
    "FactFinder": "facts",
    "Facts": "changes",
    "KeptEvents": "changes",
    "LoggedModel": "served_record",
    "LoggedPredictions": "served_record",
    "LoggedVectors": "served_record",
    "Logs": "logs",
    "Outcome": "changes",
    "PastVersions": "versions",
    "Recomputed": "replay",
    "Replay": "replay",
    "Replayed": "replay",
    "Rescored": "versions",
    "Selection": "served_record",
    "StateIsThere": "backfill",
    "StreamHistory": "streams",
    "compare": "changes",
}


def __getattr__(name: str) -> object:
    return load_name(__name__, _MODULES, name, "loop")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
