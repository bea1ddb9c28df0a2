#!/usr/bin/env bash
# Where connections to remotes come from, and where intercepted clients had wanted to go: a host with clients on one cable
# and a server on the other. What docs/transparent.md has the host do is done here as it stands there.
# Usage: tests/transparent.sh [path of cproxy]
# Needs root, for network namespaces, and ip, nft, setpriv and python3.
. "$(dirname "$0")/script.sh"
page=$(dirname "$0")/../docs/transparent.md
clients=cproxy-clients-$$ host=cproxy-host-$$ server=cproxy-server-$$
if [ "$(id -u)" != 0 ] || ! ip netns add "$host"; then
  echo "SKIPPED: no network namespaces"
  exit 0
fi
at_end() {
  local system
  for system in "$clients" "$host" "$server"; do ip netns del "$system" 2>/dev/null || true; done
}
ip netns add "$clients"
ip netns add "$server"
on_clients=(ip netns exec "$clients")
on_host=(ip netns exec "$host")
on_server=(ip netns exec "$server")
# For a user who cannot look into other folders.
install "$(realpath "${1:-target/release/cproxy}")" "$work/cproxy"
chmod 755 "$work"

# --- The systems and the cables, by the addresses of the page

ip link add eth0 netns "$clients" type veth peer name clients netns "$host"
ip link add eth0 netns "$server" type veth peer name servers netns "$host"
ip -n "$clients" address add 198.51.100.7/24 dev eth0
ip -n "$clients" address add 2001:db8:1::7/64 dev eth0 nodad
ip -n "$host" address add 198.51.100.1/24 dev clients
ip -n "$host" address add 2001:db8:1::1/64 dev clients nodad
ip -n "$host" address add 192.0.2.10/24 dev servers
ip -n "$host" address add 2001:db8:2::10/64 dev servers nodad
ip -n "$server" address add 192.0.2.20/24 dev eth0
ip -n "$server" address add 2001:db8:2::20/64 dev eth0 nodad
for system in "$clients" "$host" "$server"; do ip -n "$system" link set lo up; done
for cable in "$clients eth0" "$host clients" "$host servers" "$server eth0"; do
  read -r system name <<<"$cable"
  ip -n "$system" link set "$name" up
done
# Both send all they have for others to the host.
ip -n "$clients" route add default via 198.51.100.1
ip -n "$clients" route add default via 2001:db8:1::1
ip -n "$server" route add default via 192.0.2.10
ip -n "$server" route add default via 2001:db8:2::10

# A server that says, over TCP and UDP, who its client is for it, and at which address it was reached.
cat >"$work/server.py" <<'PYTHON'
import asyncio, sys

def shown(address):
    return address[0].removeprefix("::ffff:")

async def session(reader, writer):
    peer, own = (writer.get_extra_info(name) for name in ("peername", "sockname"))
    writer.write(f"{shown(peer)} {peer[1]} {shown(own)} {own[1]}\n".encode())
    await reader.read()
    writer.close()

class Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport
    def datagram_received(self, data, peer):
        self.transport.sendto(f"{shown(peer)} {peer[1]} udp\n".encode(), peer)

async def main():
    for ip in ("192.0.2.20", "2001:db8:2::20"):
        for port in (80, 443):
            await asyncio.start_server(session, ip, port, backlog=4096)
        await asyncio.get_running_loop().create_datagram_endpoint(Datagrams, (ip, 53))
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
PYTHON

# A client: prints what it is told, or how it ended.
cat >"$work/client.py" <<'PYTHON'
import socket, sys

kind, ip, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ":" in ip else socket.AF_INET
client = socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
client.settimeout(10)
try:
    client.connect((ip, port))
    if kind == "udp":
        client.send(b"hello")
    print(client.recv(200).decode().strip() or "closed")
except ConnectionResetError:
    print("reset")
except OSError as error:
    print(f"error: {error}")
PYTHON

# As many clients as can be, which stay: prints how many there are when the first one is reset, and at most so many.
cat >"$work/many.py" <<'PYTHON'
import socket, sys

ip, port, most = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
clients = []
while len(clients) < most:
    client = socket.create_connection((ip, port), 10)
    try:
        if not client.recv(200):
            break
    except ConnectionResetError:
        break
    clients.append(client)
print(len(clients))
PYTHON

"${on_server[@]}" python3 "$work/server.py" >"$work/server.log" 2>&1 &
pids+=($!)
retry grep -q ready "$work/server.log"

# --- What is done and seen on the host

# What stands in the page behind this name: <!-- NAME -->, and then a block of commands.
block() {
  awk -v name="<!-- $1 -->" '$0 == name { found = 1 } found && /^```$/ { exit } inside { print } found && /^```sh$/ { inside = 1 }' "$page"
}
# Does that on the host.
do_block() {
  block "$1" >"$work/block.sh"
  [ -s "$work/block.sh" ] || { echo "the page has no commands for $1" >&2; return 1; }
  "${on_host[@]}" bash -eu "$work/block.sh" >"$work/block.log" 2>&1
}
# The same where the system may lack something: then it is said, and the status is not 0.
try_block() {
  do_block "$1" && return
  echo "SKIPPED: $2: $(tail -n 1 "$work/block.log")"
  return 1
}

start() {
  "${on_host[@]}" "${as[@]}" "$work/cproxy" "$@" >"$work/proxy.log" 2>&1 &
  proxy=$!
  pids+=("$proxy")
  retry grep -q "listening on" "$work/proxy.log"
}
stop() {
  kill "$proxy"
  wait "$proxy" 2>/dev/null || true
}
ask() { "${on_clients[@]}" python3 "$work/client.py" "$@"; }
# Asks as $2 and further say, and checks the beginning of the answer by a pattern.
expect() {
  local answer
  answer=$(ask "${@:2}")
  # shellcheck disable=SC2053 # it is a pattern
  if [[ "$answer " != $1' '* ]]; then
    echo "expected '$1' and got '$answer' of ${*:2}" >&2
    return 1
  fi
}
# A user without any right, but for these capabilities.
as_nobody() {
  as=(setpriv --reuid 65534 --regid 65534 --clear-groups)
  if [ -n "${1:-}" ]; then as+=(--inh-caps "+$1" --ambient-caps "+$1"); fi
}

# --- Addresses and ports of the host

do_block addresses
as_nobody
start -l 198.51.100.1:8000 -r 192.0.2.20:80 --source 192.0.2.10 --source 192.0.2.11
expect "192.0.2.10" tcp 198.51.100.1 8000
expect "192.0.2.11" tcp 198.51.100.1 8000
stop
start -l 198.51.100.1:8000 -r 192.0.2.20:80 --source 192.0.2.11:2000-2000 --drain-timeout 0
expect "192.0.2.11 2000" tcp 198.51.100.1 8000
stop
start -l '[2001:db8:1::1]:8000' -r '[2001:db8:2::20]:80' --source '[2001:db8:2::10]:2001-2001' --drain-timeout 0
expect "2001:db8:2::10 2001" tcp 2001:db8:1::1 8000
stop
echo "ok: addresses of the host"

# The system has 100 ports here, and they are free again at once.
"${on_host[@]}" sysctl -q net.ipv4.ip_local_port_range="40000 40099" net.ipv4.tcp_max_tw_buckets=0
for sources in "100" "200 --source 192.0.2.10 --source 192.0.2.11" "1000 --source 192.0.2.10:20000-20999" \
  "150 --source 192.0.2.10:20000-20049 --source 192.0.2.11"; do
  read -r -a arguments <<<"$sources"
  start -l 198.51.100.1:8000 -r 192.0.2.20:80 "${arguments[@]:1}" --drain-timeout 0
  count=$("${on_clients[@]}" python3 "$work/many.py" 198.51.100.1 8000 2000)
  [ "$count" = "${arguments[0]}" ] || { echo "$count sessions with ${arguments[*]}" >&2; exit 1; }
  grep -q "errno = 99" "$work/proxy.log"
  stop
done
"${on_host[@]}" sysctl -q net.ipv4.ip_local_port_range="32768 60999"
echo "ok: a second address or a range of ports lets one remote have more sessions"

# --- The client's address

if "${on_host[@]}" "${as[@]}" "$work/cproxy" -l 198.51.100.1:8000 -r 192.0.2.20:80 --source client >"$work/proxy.log" 2>&1; then
  echo "it starts without the capability" >&2
  exit 1
fi
grep -q "source client: .* CAP_NET_RAW or CAP_NET_ADMIN" "$work/proxy.log"
has_answers=no
if try_block answers "the kernel or nft cannot tell which packets are for transparent sockets"; then
  has_answers=yes
  for capability in net_raw net_admin; do
    as_nobody "$capability"
    start -l 198.51.100.1:8000 -l udp:198.51.100.1:8053 -r 192.0.2.20:80 --source client
    expect "198.51.100.7" tcp 198.51.100.1 8000
    stop
  done
  start -l '[2001:db8:1::1]:8000' -r '[2001:db8:2::20]:80' --source client
  expect "2001:db8:1::7" tcp 2001:db8:1::1 8000
  stop
  # One of IPv6 cannot be a client of IPv4.
  start -l '[::]:8000' -r '192.0.2.20:80' --source client
  expect "192.0.2.10" tcp 2001:db8:1::1 8000
  expect "198.51.100.7" tcp 198.51.100.1 8000
  stop
  start -l udp:198.51.100.1:8053 -r udp:192.0.2.20:53 --source client
  expect "198.51.100.7" udp 198.51.100.1 8053
  stop
  echo "ok: the client's address, with CAP_NET_RAW or CAP_NET_ADMIN alone"
fi

# --- Where the client had wanted to go

# What is asked of a proxy that connects intercepted clients: prefixed by who they are to be for the server.
check_original() {
  expect "$1 * 192.0.2.20 80" tcp 192.0.2.20 80
  expect "$1 * 192.0.2.20 443" tcp 192.0.2.20 443
  expect "$2 * 2001:db8:2::20 80" tcp 2001:db8:2::20 80
  grep -q "connect client to proxy .*198.51.100.7:.* -> .*192.0.2.20:443 " "$work/proxy.log"
  # Who comes to the proxy itself would come again and again.
  for address in 198.51.100.1 2001:db8:1::1; do expect "reset" tcp "$address" 5000; done
  [ "$(grep -c "connect starting" "$work/proxy.log")" = 3 ]
  # Where nobody listens; the proxy and the others go on.
  expect "reset" tcp 192.0.2.99 80
  expect "$1 * 192.0.2.20 80" tcp 192.0.2.20 80
}
drop_table() { "${on_host[@]}" nft delete table inet "$1"; }

if [ "$has_answers" = yes ] && try_block tproxy "the kernel or nft has no TPROXY"; then
  as_nobody net_raw
  for listeners in "-l [::]:5000" "-l 0.0.0.0:5000 -l [::]:5000 --reuse-port -t2"; do
    read -r -a arguments <<<"$listeners"
    start "${arguments[@]}" -r original: --connect-timeout 1s
    check_original 192.0.2.10 2001:db8:2::10
    stop
    start "${arguments[@]}" -r original: --source client --connect-timeout 1s
    check_original 198.51.100.7 2001:db8:1::7
    stop
  done
  start -l '[::]:5000' -r original: --source 192.0.2.11:3000-3009 --source '[2001:db8:2::10]:3000-3009' --connect-timeout 1s
  check_original 192.0.2.11 2001:db8:2::10
  stop
  # It says so if it may not.
  as_nobody
  start -l '[::]:5000' -r original:
  retry grep -q "nothing of TPROXY" "$work/proxy.log"
  stop
  drop_table cproxy-tproxy
  echo "ok: to where clients had wanted to go, by TPROXY"
fi
as_nobody
if try_block redirect "the kernel or nft has no REDIRECT"; then
  start -l '[::]:5000' -r original: --connect-timeout 1s
  check_original 192.0.2.10 2001:db8:2::10
  stop
  drop_table cproxy-redirect
  echo "ok: to where clients had wanted to go, by REDIRECT, without a capability"
fi
if try_block redirect-local "the kernel or nft cannot redirect what programs of the host connect to"; then
  as=(setpriv --reuid 990 --regid 65534 --clear-groups)
  start -l '[::]:5000' -r original:
  for ip in 192.0.2.20 2001:db8:2::20; do
    answer=$("${on_host[@]}" python3 "$work/client.py" tcp "$ip" 80)
    [[ $answer == *" $ip 80" ]] || { echo "got '$answer' from $ip" >&2; exit 1; }
  done
  [ "$(grep -c "connect complete" "$work/proxy.log")" = 2 ]
  stop
  drop_table cproxy-redirect-local
  echo "ok: the same for programs of the host"
fi
