"""Local servers, and a loop's services as processes of this machine."""

from headrace.embedded.running import RunningLoop, run
from headrace.embedded.servers import Broker, Server, Servers, Store, broker, store

__all__ = ["Broker", "RunningLoop", "Server", "Servers", "Store", "broker", "run", "store"]
