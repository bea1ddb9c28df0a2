#!/usr/bin/env bash
# Network devices joined by two proxies: what one system sends into its device comes out of the other's.
# Usage: tests/tunnels.sh [path of cproxy]
# Needs root, for network namespaces and /dev/net/tun, and ip, ping, iperf3 and python3.
. "$(dirname "$0")/script.sh"
cproxy=$(realpath "${1:-target/release/cproxy}")
here=cproxy-here-$$ there=cproxy-there-$$
if [ "$(id -u)" != 0 ] || ! [ -c /dev/net/tun ] || ! ip netns add "$here"; then
  echo "SKIPPED: no network namespaces or no /dev/net/tun"
  exit 0
fi
at_end() {
  ip netns del "$here" || true
  ip netns del "$there" || true
}

# Prefixes of commands; as functions, they would have subshells in the background.
in_here=(ip netns exec "$here")
in_there=(ip netns exec "$there")

# Two systems and a cable.
ip netns add "$there"
ip link add cable netns "$here" type veth peer name cable netns "$there"
"${in_here[@]}" ip address add 10.99.0.1/24 dev cable
"${in_there[@]}" ip address add 10.99.0.2/24 dev cable
for system in "$here" "$there"; do
  ip -n "$system" link set lo up
  ip -n "$system" link set cable up
done

# A device in both of them, whose addresses are 10.99.1.1 and 10.99.1.2.
add_device() {
  local end=1 system
  for system in "$here" "$there"; do
    ip -n "$system" tuntap add dev "$2" mode "$1"
    ip -n "$system" address add "10.99.1.$((end++))/24" dev "$2"
    ip -n "$system" link set "$2" up
  done
}

start_there() {
  "${in_there[@]}" "$cproxy" -l "$1:10.99.0.2:7000" -r "$2:virtual" >>"$work/there.log" &
  there_pid=$!
  pids+=($!)
}

# Ends a proxy by a signal, and checks that it ends as it should.
stop() {
  local status=0 expected=0
  if [ "$1" = KILL ]; then expected=137; fi
  kill "-$1" "$2"
  { wait "$2" || status=$?; } 2>/dev/null # bash would say that it was killed
  [ "$status" = "$expected" ]
}

# So many pings, each of which must be answered, and once.
ping_there() {
  local report
  report=$("${in_here[@]}" ping -q -c "$1" -i 0.01 -W 5 "${@:2}" 10.99.1.2) || true
  if ! grep -q " $1 received, 0% " <<<"$report"; then
    echo "$report" >&2
    return 1
  fi
}

ping_once() { "${in_here[@]}" ping -q -c 1 -W 0.2 10.99.1.2; }

for mode in tun tap; do
  for carrier in framed udp; do
    add_device "$mode" virtual
    start_there "$carrier" "$mode"
    "${in_here[@]}" "$cproxy" -l "$mode:virtual" -r "$carrier:10.99.0.2:7000" >"$work/here.log" &
    here_pid=$!
    pids+=($!)
    retry ping_once
    ping_there 100
    # As long as a packet can be; nothing on the way may split it.
    ping_there 100 -M do -s 1472
    echo "ok: ping through $mode and $carrier"

    "${in_there[@]}" iperf3 -s -1 >"$work/iperf3-server.log" 2>&1 &
    pids+=($!)
    retry "${in_there[@]}" sh -c 'ss -ltn | grep -q :5201'
    "${in_here[@]}" iperf3 -c 10.99.1.2 -t 2 -J >"$work/iperf3.json"
    python3 - "$work/iperf3.json" "$mode and $carrier" <<'PYTHON'
import json, sys
end = json.load(open(sys.argv[1]))["end"]
sent, received = end["sum_sent"]["bytes"], end["sum_received"]["bytes"]
assert 1_000_000 < received <= sent, (sent, received)
print(f"ok: iperf3 through {sys.argv[2]}, {received * 8 / end['sum_received']['seconds'] / 1e6:.0f} Mbit/s")
PYTHON

    for signal in KILL TERM; do
      stop "$signal" "$there_pid"
      start_there "$carrier" "$mode"
      retry ping_once
      ping_there 20
    done
    echo "ok: $mode over $carrier comes back when the other proxy does"

    # Sessions of devices do not keep a proxy from ending.
    stop TERM "$here_pid"
    stop TERM "$there_pid"
    for system in "$here" "$there"; do ip -n "$system" tuntap del dev virtual mode "$mode"; done
  done
done
