"""Local servers, and a loop's services as processes of this machine."""

from headrace.embedded.servers import Broker, Server, Servers, Store, broker, store

__all__ = ["Broker", "Server", "Servers", "Store", "broker", "store"]
