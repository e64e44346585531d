"""The official Apache Pulsar as a child process: its standalone broker, tuned for one machine.

With stock settings it takes 1.1 GB and 10 ms a message, writes acknowledgements to disk once a minute, and listens
on every interface. Each line of the configuration below fixes one of these, or makes it start faster.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from headrace.embedded import distribution
from headrace.embedded.child import Child
from headrace.embedded.data_directory import private_directory, write_private
from headrace.embedded.ports import HOST, free_port
from headrace.embedded.processes import log_report
from headrace.embedded.servers import ChildServer
from headrace.errors import Unavailable
from headrace.runtime.pulsar.admin import Admin

_ADMIN_PORT = "broker-admin"

#: Changes to the stock configuration, wherever the broker runs.
TUNING = {
    "webSocketServiceEnabled": "false",
    # Do not let a message wait for a timer's tick: 2 ms there and back instead of 10.
    "managedLedgerNewEntriesCheckDelayInMillis": "0",
    # A consumer that was suspended or cut off is detected after one or two of these intervals.
    "keepAliveIntervalSeconds": "5",
    # Otherwise each new consumer of a Failover subscription waits a second, even if it is the only one.
    "activeConsumerFailoverDelayTimeMillis": "0",
    # Acknowledgements are on disk at once, so a kill -9 of the broker does not lose them (and send messages again).
    "managedLedgerDefaultMarkDeleteRateLimit": "0",
    "managedLedgerCursorPositionFlushSeconds": "1",
    # A topic without clients may still be needed later.
    "brokerDeleteInactiveTopicsEnabled": "false",
    "forceDeleteNamespaceAllowed": "true",
    # One machine and few topics: keep threads and caches small, whatever the number of cores.
    "numIOThreads": "2",
    "numOrderedExecutorThreads": "2",
    "numHttpServerThreads": "8",
    "numExecutorThreadPoolSize": "2",
    "numCacheExecutorThreadPoolSize": "2",
    "managedLedgerNumSchedulerThreads": "2",
    "bookkeeperClientNumWorkerThreads": "2",
    "bookkeeperClientNumIoThreads": "2",
    "managedLedgerCacheSizeMB": "32",
    "dbStorage_writeCacheMaxSizeMb": "32",
    "dbStorage_readAheadCacheMaxSizeMb": "8",
    "dbStorage_rocksDB_blockCacheSize": str(8 * 2**20),
}

#: The JVM's settings; an empty value for the garbage collector's log restores the stock one.
JVM = {
    "PULSAR_MEM": "-Xms64m -Xmx384m -XX:MaxDirectMemorySize=384m",
    "PULSAR_GC": "-XX:+UseSerialGC",
    "PULSAR_GC_LOG": "-Xlog:disable -Xlog:all=error:stderr",
}

_START = "-XX:TieredStopAtLevel=1 -XX:+PerfDisableSharedMem"

# Otherwise its bookie listens on every interface.
_HERE = {"bindAddress": HOST, "advertisedAddress": HOST, "listeningInterface": "lo"}

# Log warnings, and the message that it is up.
_LOGGING = """\
Configuration:
  status: ERROR
  name: pulsar
  Appenders:
    Console:
      name: Console
      target: SYSTEM_OUT
      PatternLayout:
        Pattern: "%d{ISO8601_OFFSET_DATE_TIME_HHMM} %-5level %logger{36} - %.-2000msg%n%ex{5}"
  Loggers:
    Root:
      level: warn
      AppenderRef:
        - ref: Console
    Logger:
      - name: org.apache.pulsar.broker.PulsarService
        level: info
      # At each start and stop it complains of what nobody asked of one machine: racks, host names.
      - name: org.apache.bookkeeper
        level: error
      - name: org.glassfish.jersey
        level: error
      # Which bookies there are: the one, unless something is wrong (see `loses_its_bookie`), and then thousands
      # of lines a second, of which a few are enough.
      - name: org.apache.pulsar.metadata.bookkeeper.PulsarRegistrationClient
        level: info
        BurstFilter:
          level: INFO
          rate: 1
          maxBurst: 20
"""

_UP = "messaging service is ready"

#: Logged when its bookie has lost its registration: once or twice after a kill, endlessly if it is stuck.
_BOOKIE_GONE = "deleted. path: /ledgers/available/"
_GONE_AT_MOST = 3

#: How often it is started, at most, until it keeps its bookie.
STARTS = 4


class _BookieLost(Unavailable):
    """The broker was stopped because it would never have answered."""


def loses_its_bookie(output: str) -> bool:
    """Return whether the output shows that a broker keeps removing its own bookie.

    Pulsar 4.0 registers its bookie in a lock that a killed broker leaves behind. In up to half of the cases, removing
    that one makes its new lock believe that *it* was deleted; it is then deleted and created hundreds of times a
    second, endlessly, and no ledger can be created in those moments. A broker that is stopped leaves no lock, so the
    next start is clean.
    """
    return output.count(_BOOKIE_GONE) > _GONE_AT_MOST


class OfficialBroker(ChildServer):
    """Apache Pulsar's own standalone broker, from Maven Central's distribution, on a JVM of this machine.

    Parameters
    ----------
    data
        See `ChildServer`.
    conf
        Further settings of its configuration file: ``{"defaultNumPartitions": "4"}``.
    token
        The token for its admin API, if `conf` turns authentication on.
    say
        Called with a message before a long step: the download, once per machine.

    Examples
    --------
        with OfficialBroker(data) as broker:
            client = pulsar.Client(broker.url)
            admin = Admin(broker.admin_url)
    """

    name = "broker"
    ready_s = 180.0

    def __init__(
        self,
        data: Path | str,
        *,
        conf: Mapping[str, str] | None = None,
        token: str | None = None,
        say: Callable[[str], None] = log_report,
    ) -> None:
        super().__init__(data)
        self._conf = dict(conf or {})
        self._token = token
        self._say = say
        self._home = Path()
        self._admin_port = 0

    @property
    def url(self) -> str:
        return f"pulsar://{HOST}:{self._port}"

    @property
    def admin_url(self) -> str:
        """The URL of its admin API."""
        return f"http://{HOST}:{self._admin_port}"

    @property
    def directory(self) -> Path:
        # Separate from the small broker's: neither can read what the other wrote.
        return self._root / "pulsar"

    def start(self) -> None:
        """As in `Server`; after a kill it may take two starts (see `loses_its_bookie`)."""
        self._home = distribution.home(self._say)
        for attempt in range(1, STARTS + 1):
            try:
                super().start()
                break
            except _BookieLost:
                if attempt == STARTS:
                    raise
        self._ports.note(_ADMIN_PORT, self._admin_port)

    def _command(self, port: int) -> Sequence[str]:
        if not self._keeps_port:
            self._admin_port = self._ports.last(_ADMIN_PORT) or free_port()
        shutil.rmtree(self.directory / "tmp", ignore_errors=True)
        private_directory(self.directory / "tmp")
        stock = (self._home / "conf" / "standalone.conf").read_text()
        ports = {"brokerServicePort": str(port), "webServicePort": str(self._admin_port)}
        lines = "".join(f"{name}={value}\n" for name, value in (TUNING | _HERE | ports | self._conf).items())
        settings = self.directory / "standalone.conf"
        # It may contain secrets. If a setting occurs twice, the last one counts.
        write_private(settings, f"{stock}\n{lines}".encode())
        write_private(self.directory / "log4j2.yaml", _LOGGING.encode())
        folders = ["--metadata-dir", f"{self.directory}/metadata", "--bookkeeper-dir", f"{self.directory}/bookkeeper"]
        # Without functions and stream storage, which take as much time and memory as a second broker.
        return [f"{self._home}/bin/pulsar", "standalone", "-nfw", "-nss", "-a", HOST, *folders]

    def _environment(self) -> dict[str, str]:
        return {
            **JVM,
            # Each start leaves a library of 13 MB in the folder for temporary files.
            "PULSAR_EXTRA_OPTS": f"{_START} -Djava.io.tmpdir={self.directory}/tmp",
            "PULSAR_STANDALONE_CONF": f"{self.directory}/standalone.conf",
            "PULSAR_LOG_CONF": f"{self.directory}/log4j2.yaml",
            "PULSAR_LOG_DIR": f"{self.directory}/logs",
        }

    def _ready(self, child: Child, port: int) -> bool:
        if loses_its_bookie(child.output()):
            child.stop()
            raise _BookieLost(f"{child.name} does not keep its bookie registered; its log is {child.log}")
        return child.wrote(_UP) and Admin(self.admin_url, self._token).healthy()
