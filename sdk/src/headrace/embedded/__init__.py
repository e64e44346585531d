"""Local servers, and a loop's services as processes on this machine."""

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
