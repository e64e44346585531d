#!/bin/sh
# Runs the broker of docker-compose.yml, and ends it if it has lost its bookie, so that its container is started again.
#
# Pulsar 4.0 registers its bookie under a lock, which a killed broker leaves behind. The next broker removes that lock, and
# in up to half of the cases takes this for a removal of its own: it deletes and makes its lock hundreds of times a second,
# without end, and can write no ledger. A broker that is stopped leaves no lock: the start after that is clean.
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
# A signal ends the loop: the broker says its last words, and nobody breaks its pipe.
cat <&3
wait "$broker"
