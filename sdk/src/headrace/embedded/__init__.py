"""Local servers, and a loop's services as processes on this machine.

The names are loaded when they are first used; they need the extra `headrace[local]`.
"""

from typing import TYPE_CHECKING

from headrace.extras import load_name

if TYPE_CHECKING:
    from headrace.embedded.brokers import OFFICIAL
    from headrace.embedded.local_servers import Servers
    from headrace.embedded.official import OfficialBroker
    from headrace.embedded.running_loop import RunningLoop, run
    from headrace.embedded.servers import Broker, Server, Store, broker, store

__all__ = [
    "OFFICIAL",
    "Broker",
    "OfficialBroker",
    "RunningLoop",
    "Server",
    "Servers",
    "Store",
    "broker",
    "run",
    "store",
]

_MODULES = {
    "OFFICIAL": "brokers",
    "Broker": "servers",
    "OfficialBroker": "official",
    "RunningLoop": "running_loop",
    "Server": "servers",
    "Servers": "local_servers",
    "Store": "servers",
    "broker": "servers",
    "run": "running_loop",
    "store": "servers",
}


def __getattr__(name: str) -> object:
    return load_name(__name__, _MODULES, name, "local")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
