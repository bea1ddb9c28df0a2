#!/usr/bin/env bash
# Names that change while clients come all the time: a real DNS server whose zone is changed, stopped and gone for a while.
# Usage: tests/names.sh [path of cproxy]
# Needs root, for namespaces, and ip, ss, dnsmasq, dig and python3. SILENCE=SECONDS says for how long the DNS server is
# silent (60 if nothing is said).
. "$(dirname "$0")/script.sh"
cproxy=$(realpath "${1:-target/release/cproxy}")
silence=${SILENCE:-60}
system=cproxy-names-$$
if [ "$(id -u)" != 0 ] || ! ip netns add "$system"; then
  echo "SKIPPED: no network namespaces"
  exit 0
fi
at_end() { ip netns del "$system" || true; }
ip -n "$system" link set lo up

# How long after a change of the zone the rules have all sessions elsewhere: names are looked up every 500 ms and live for
# a second; the rest is for machines with much else to do.
settled=4

# --- The programs around the proxy

# Whatever runs in it has the servers of the file "resolv.conf" and no table of hosts.
echo "127.0.0.1 localhost" >"$work/hosts"
cat >"$work/resolv.conf" <<'CONF'
nameserver 127.0.0.1
search test
options timeout:2 attempts:2
CONF
# shellcheck disable=SC2016 # its own arguments
inside=(ip netns exec "$system" unshare --mount sh -c '
  mount --bind "$0/resolv.conf" /etc/resolv.conf && mount --bind "$0/hosts" /etc/hosts && exec "$@"' "$work")

# A server at each of these addresses, which says where it is and echoes what it gets.
cat >"$work/servers.py" <<'PYTHON'
import asyncio, sys

async def serve(place):
    async def session(reader, writer):
        try:
            writer.write(f"{place}\n".encode())
            while data := await reader.read(4096):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()
    ip, port = place.split(":")
    await asyncio.start_server(session, ip, int(port), backlog=1000)

async def main():
    for place in sys.argv[1:]:
        await serve(place)
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
PYTHON

# Clients that come all the time. Each writes a line: when it came, how long it took, and where it got, or what went wrong.
cat >"$work/clients.py" <<'PYTHON'
import asyncio, sys, time

async def client(ip, port, file):
    while True:
        begin = time.time()
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection(ip, port), 30)
            line = await asyncio.wait_for(reader.readline(), 30)
            place = line.decode().strip() or "error:closed"
            writer.close()
        except Exception as error:
            place = "error:" + type(error).__name__
        file.write(f"{begin:.3f} {time.time() - begin:.3f} {place}\n")
        await asyncio.sleep(0.02)

async def main():
    ip, port, path = sys.argv[1:]
    with open(path, "w", buffering=1) as file:
        await asyncio.gather(*(client(ip, int(port), file) for _ in range(8)))

asyncio.run(main())
PYTHON

# Whether no client failed, and those that came between two times got to these places, to each of them some.
cat >"$work/judge.py" <<'PYTHON'
import sys

path, begin, end = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
expected = set(sys.argv[4:])
lines = [line.split() for line in open(path) if line.endswith("\n")]
failed = [line for line in lines if line[2].startswith("error")]
assert not failed, f"{len(failed)} of {len(lines)} clients failed: {failed[:5]}"
places = {}
for at, _, place in lines:
    if begin <= float(at) <= end:
        places[place] = places.get(place, 0) + 1
assert set(places) == expected, f"expected {sorted(expected)}, got {places}"
slowest = max(float(took) for _, took, _ in lines)
print(f"    {sum(places.values())} clients at {len(places)} remotes, the slowest of all {len(lines)} took {slowest:.3f} s")
PYTHON

now() { date +%s.%N; }

# Puts addresses into the zone: lines as /etc/hosts has them. The DNS server reads them on a signal.
hosts() { printf '%s\n' "$@" >"$work/zone.hosts"; }
# Puts SRV records into the zone: PRIORITY WEIGHT PORT HOST each, of _http._tcp.web.test.
services() {
  local record priority weight port host
  for record in "$@"; do
    read -r priority weight port host <<<"$record"
    echo "srv-host=_http._tcp.web.test,$host,$port,$priority,$weight"
  done >"$work/zone.conf"
}
start_dns() {
  "${inside[@]}" dnsmasq --keep-in-foreground --conf-file="$work/zone.conf" --no-resolv --no-hosts --user=root \
    --pid-file= --addn-hosts="$work/zone.hosts" --local=/test/ --local-ttl=1 --neg-ttl=1 --listen-address=127.0.0.1 \
    --bind-interfaces --log-facility="$work/dns.log" &
  dns=$!
  pids+=("$dns")
  retry "${inside[@]}" dig +tries=1 +time=1 @127.0.0.1 ready.test
}
stop_dns() {
  kill "$dns"
  wait "$dns" 2>/dev/null || true
}
new_hosts() {
  hosts "$@"
  kill -HUP "$dns"
}
new_services() {
  services "$@"
  stop_dns
  start_dns
}

start_proxy() {
  : >"$work/proxy.log"
  "${inside[@]}" "$cproxy" -l 127.0.0.1:7000 "$@" >"$work/proxy.log" 2>&1 &
  proxy=$!
  pids+=("$proxy")
  retry "${inside[@]}" sh -c 'ss -Hltn "sport = 7000" | grep -q .'
}
stop_proxy() {
  kill "$proxy"
  wait "$proxy"
}
start_clients() {
  "${inside[@]}" python3 "$work/clients.py" 127.0.0.1 7000 "$work/clients" 2>"$work/clients.log" &
  clients=$!
  pids+=("$clients")
}
stop_clients() {
  kill "$clients"
  wait "$clients" 2>/dev/null || true
  rm "$work/clients"
}
# Lets clients come for some seconds, from so many seconds after $changed on, and judges them.
judge() {
  sleep "$(python3 -c 'import sys; print(max(0, float(sys.argv[1]) + float(sys.argv[2]) + 2 - float(sys.argv[3])))' \
    "$changed" "$1" "$(now)")"
  python3 "$work/judge.py" "$work/clients" "$(python3 -c "print($changed + $1)")" "$(now)" "${@:2}"
}
# How many lines of the proxy's log say that a name could not be looked up.
failures() { grep -c "error resolving address" "$work/proxy.log" || true; }

places=()
for host in $(seq 20); do places+=("127.0.1.$host:8000"); done
for host in $(seq 40); do places+=("127.0.2.$host:8001"); done
"${inside[@]}" python3 "$work/servers.py" "${places[@]}" >"$work/servers.log" 2>&1 &
pids+=($!)
retry grep -q ready "$work/servers.log"

# The places of hosts $1 to $2 in 127.0.1.0/24, and lines of the zone for them.
at() { seq -f "127.0.1.%g:8000" "$1" "$2"; }
lines() { seq -f "127.0.1.%g $3" "$1" "$2"; }

# --- A name whose addresses change

mapfile -t zone < <(lines 1 3 web.test)
hosts "${zone[@]}"
services
start_dns
start_proxy -r web.test:8000 --resolve 500ms
# A client that stays, with a remote that will be gone. By 127.0.1.1 to 3, one of three is the first.
coproc stayer { "${inside[@]}" python3 -u -c '
import socket, sys
s = socket.create_connection(("127.0.0.1", 7000), 10)
f = s.makefile("rw")
print(f.readline().strip())
for line in sys.stdin:
    f.write(line); f.flush()
    print(f.readline().strip())
'; }
stays=$stayer_PID
pids+=("$stays")
read -r place <&"${stayer[0]}"
start_clients
retry test -s "$work/clients"
changed=$(now)
mapfile -t expected < <(at 1 3)
judge 0 "${expected[@]}"
changed=$(now)
mapfile -t zone < <(lines 11 13 web.test)
new_hosts "${zone[@]}"
mapfile -t expected < <(at 11 13)
judge "$settled" "${expected[@]}"
echo "ok: all addresses of a name are replaced at once"
echo hello >&"${stayer[1]}"
read -r answer <&"${stayer[0]}"
[ "$answer" = hello ]
kill "$stays"
echo "ok: a session stays with its remote ($place) when that is gone from the zone"

# --- No answer, for a while

changed=$(now)
new_hosts "127.0.1.9 other.test"
retry grep -q "error resolving address" "$work/proxy.log"
judge "$settled" "${expected[@]}"
[ "$(failures)" = 1 ]
mapfile -t zone < <(lines 12 14 web.test)
changed=$(now)
new_hosts "${zone[@]}"
mapfile -t expected < <(at 12 14)
judge "$settled" "${expected[@]}"
echo "ok: an answer without an address changes nothing and is logged once"

changed=$(now)
kill -STOP "$dns"
sleep "$silence"
judge 0 "${expected[@]}"
[ "$(failures)" = 2 ]
mapfile -t zone < <(lines 1 2 web.test)
hosts "${zone[@]}"
kill -HUP "$dns"
changed=$(now)
kill -CONT "$dns"
mapfile -t expected < <(at 1 2)
# A look-up that the server has kept waiting ends first.
judge "$((settled + 15))" "${expected[@]}"
[ "$(failures)" = 2 ]
echo "ok: a DNS server that is silent for $silence s changes nothing and is logged once"
stop_clients
stop_proxy

# --- SRV records

seven() { for host in $(seq "$1" $(($1 + 6))); do echo "10 $((host % 3 + 1)) 8001 server-number-$host.test"; done; }
mapfile -t zone < <(for host in $(seq 40); do echo "127.0.2.$host server-number-$host.test"; done)
at_services() { seq -f "127.0.2.%g:8001" "$1" "$2"; }
hosts "${zone[@]}"
mapfile -t records < <(seven 1)
new_services "${records[@]}"
start_proxy -r srv:_http._tcp.web.test
start_clients
retry test -s "$work/clients"
changed=$(now)
mapfile -t expected < <(at_services 1 7)
judge 1 "${expected[@]}"
for first in 8 15 22 1; do
  mapfile -t records < <(seven "$first")
  changed=$(now)
  # The DNS server is gone for a moment, too.
  new_services "${records[@]}"
  mapfile -t expected < <(at_services "$first" $((first + 6)))
  judge "$settled" "${expected[@]}"
done
echo "ok: all seven targets of an SRV name are replaced at once, four times"

changed=$(now)
new_services "10 1 8001 server-number-1.test" "20 1 8001 server-number-2.test"
judge "$settled" 127.0.2.1:8001
changed=$(now)
new_services "20 1 8001 server-number-2.test"
judge "$settled" 127.0.2.2:8001
echo "ok: a higher priority is a backup, until there is no other"

mapfile -t records < <(for host in $(seq 40); do echo "0 1 8001 server-number-$host.test"; done)
changed=$(now)
new_services "${records[@]}"
mapfile -t expected < <(at_services 1 40)
judge "$settled" "${expected[@]}"
"${inside[@]}" dig +ignore +bufsize=1232 @127.0.0.1 _http._tcp.web.test SRV | grep -q "flags:.* tc"
echo "ok: an answer that is too long for a datagram comes over TCP"
stop_clients
stop_proxy

# --- A start without an answer

stop_dns
start_proxy -r web.test:8000 --resolve 1s --connect-timeout 30s
mapfile -t zone < <(lines 1 2 web.test)
hosts "${zone[@]}"
start_clients
sleep 2
[ ! -s "$work/clients" ]
start_dns
retry test -s "$work/clients"
changed=$(now)
mapfile -t expected < <(at 1 2)
judge 1 "${expected[@]}"
stop_clients
stop_proxy
echo "ok: clients wait for the first address of a name"
