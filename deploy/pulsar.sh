#!/bin/sh
# Runs the broker of docker-compose.yml, and ends it if it has lost its bookie, so that its container is started again.
#
# Pulsar 4.0 registers its bookie under a lock, which a killed broker leaves behind. The next broker removes that lock,
# and in up to half of the cases mistakes this for a removal of its own lock: it deletes and recreates its lock hundreds
# of times a second, endlessly, and cannot write a ledger. A broker that is stopped leaves no lock: the next start is
# clean.
set -eu

lost='deleted. path: /ledgers/available/'
at_most=3

bin/apply-config-from-env.py conf/standalone.conf
output=$(mktemp -d)/output
mkfifo "$output"
bin/pulsar standalone -nfw -nss -a pulsar > "$output" 2>&1 &
broker=$!
exec 3< "$output"
trap 'kill -TERM "$broker"' TERM INT

count=0
while IFS= read -r line <&3; do
  printf '%s\n' "$line"
  case $line in
    *"$lost"*)
      count=$((count + 1))
      if [ "$count" -eq $((at_most + 1)) ]; then
        echo 'bookie_lost: the broker lost its own bookie after a kill; it is stopped, to be started again'
        kill -TERM "$broker"
      fi
      ;;
  esac
done
# A signal ends the loop: drain the broker's last output, so that its pipe does not break.
cat <&3
wait "$broker"
