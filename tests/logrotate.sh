#!/usr/bin/env bash
# The access log and the real logrotate(8), with the file of the packages: no line is lost or torn while it is rotated.
# Usage: tests/logrotate.sh [path of cproxy]
# Needs logrotate, gzip and python3.
. "$(dirname "$0")/script.sh"
root=$(cd "$(dirname "$0")/.." && pwd)
cproxy=$(realpath "${1:-target/release/cproxy}")
PATH=$PATH:/usr/sbin:/sbin
mkdir "$work/logs"
chmod 755 "$work" "$work/logs"

"$cproxy" -t 2 -l "unix:$work/socket" -r echo: --access-log "$work/logs/access.log" --log-level warn >"$work/cproxy.log" 2>&1 &
pids+=($!)
proxy=$!
retry test -S "$work/socket"

# The packages' file, for this folder and this process.
sed -e "s|^/var/log/cproxy-services/\*\.log /var/log/cproxy/\*/\*\.log |$work/logs/*.log |" \
  -e "s|^\t\t\[ ! -d /run/systemd/system .*|\t\tkill -USR1 $proxy|" "$root/packaging/logrotate" >"$work/logrotate.conf"
chmod 644 "$work/logrotate.conf"
[ "$(grep -c -F -e "$work/logs/*.log {" -e "kill -USR1 $proxy" "$work/logrotate.conf")" = 2 ]
rotate() { logrotate --force --state "$work/state" "$work/logrotate.conf"; }

# Sessions all the time, until the file says that it is enough; each says how many bytes it was.
cat >"$work/sessions.py" <<'PYTHON'
import os, socket, sys
where, enough = sys.argv[1:]
count = 0
while not os.path.exists(enough):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(where)
        count += 1
        client.sendall(b"x" * count)
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass
print(count)
PYTHON
python3 "$work/sessions.py" "$work/socket" "$work/enough" >"$work/count" &
pids+=($!)
clients=$!
for number in 1 2 3; do
  retry test -s "$work/logs/access.log"
  rotate
done
retry test -s "$work/logs/access.log"
touch "$work/enough"
wait "$clients"
kill -TERM "$proxy"
wait "$proxy"

ls -l "$work/logs"
[ -f "$work/logs/access.log.1" ] && [ -f "$work/logs/access.log.2.gz" ] && [ -f "$work/logs/access.log.3.gz" ]
{ gzip -dc "$work/logs/access.log.3.gz" "$work/logs/access.log.2.gz"; cat "$work/logs/access.log.1" "$work/logs/access.log"; } |
  python3 -c '
import json, sys
lines = [json.loads(line) for line in sys.stdin]
sessions = sorted(line["upstream_bytes"] for line in lines)
expected = list(range(1, int(open(sys.argv[1]).read()) + 1))
assert sessions == expected, (len(sessions), len(expected), sessions[:5], sessions[-5:])
assert all(line["ending"] == "end_of_stream" and line["downstream_bytes"] == line["upstream_bytes"] for line in lines)
print(f"{len(lines)} sessions, each with its line, over four files")' "$work/count"
[ ! -s "$work/cproxy.log" ] || { cat "$work/cproxy.log"; exit 1; }
echo "logrotate: all is well"
