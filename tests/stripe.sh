#!/usr/bin/env bash
# Two systems joined by two cables with a cap on each, and between them striped sessions whose lanes go over both.
# Usage: tests/stripe.sh [path of cproxy [plain]]
# With "plain", plain TCP stands in for the stripe, so that what is around it can be tried by itself.
# Needs root, for network namespaces, and ip, tc, ss, ping, python3, ssh, sshd, scp, rsync, iperf3, dnsmasq and dig.
. "$(dirname "$0")/script.sh"
cproxy=$(realpath "${1:-target/release/cproxy}")
kind=${2:-striped}
near=cproxy-near-$$ far=cproxy-far-$$
if [ "$(id -u)" != 0 ] || ! ip netns add "$near"; then
  echo "SKIPPED: no network namespaces"
  exit 0
fi
at_end() {
  ip netns del "$near" || true
  ip netns del "$far" || true
}

# Prefixes of commands; as functions, they would have subshells in the background.
in_near=(ip netns exec "$near")
in_far=(ip netns exec "$far")

# --- The systems, and cables 1 and 2

# The far system has one address for all lanes. The near one has an address on each cable, and what comes from an
# address goes by its cable, as on a host with two uplinks.
address=10.99.0.2
ip netns add "$far"
ip -n "$far" address add "$address/32" dev lo
for system in "$near" "$far"; do
  ip -n "$system" link set lo up
  ip netns exec "$system" sysctl -q -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
done
for cable in 1 2; do
  ip link add "cable$cable" netns "$near" type veth peer name "cable$cable" netns "$far"
  ip -n "$near" address add "10.99.$cable.1/24" dev "cable$cable"
  ip -n "$far" address add "10.99.$cable.2/24" dev "cable$cable"
  ip -n "$near" rule add pref "10$cable" from "10.99.$cable.1" table "10$cable"
done

# What the kernel forgets when a cable goes down.
add_routes() {
  ip -n "$near" route replace "$address" via "10.99.$1.2" src "10.99.$1.1" table "10$1"
  if [ "$1" = 1 ]; then ip -n "$near" route replace "$address" via 10.99.1.2 src 10.99.1.1; fi
}
up() {
  ip -n "$near" link set "cable$1" up
  ip -n "$far" link set "cable$1" up
  add_routes "$1"
}
down() { ip -n "$near" link set "cable$1" down; }

# Caps a cable at so many Mbit/s in each direction.
cap() {
  for system in "$near" "$far"; do
    tc -n "$system" qdisc replace dev "cable$1" root tbf rate "$2mbit" burst 32k latency 100ms
  done
}
# Loses every packet of a cable without a word.
lose() {
  for system in "$near" "$far"; do tc -n "$system" qdisc replace dev "cable$1" root blackhole; done
}
for cable in 1 2; do
  up "$cable"
  cap "$cable" 50
done

# --- The proxies

# Starts both proxies, the near one listening at $1 and the far one connecting to $2, with what is between them wrapped
# in $3, such as "framed:".
start_proxies() {
  chain=("$@")
  joint=${3:-}stripe:$address:7000 striped=(--lanes 4 --lane-source 10.99.1.1 --lane-source 10.99.2.1)
  if [ "$kind" = plain ]; then joint=${3:-}$address:7000 striped=(); fi
  start_far
  start_near
}
start_far() {
  "${in_far[@]}" "$cproxy" -l "$joint" -r "${chain[1]}" "${options[@]}" >>"$work/far-proxy.log" 2>&1 &
  far_proxy=$!
  pids+=("$far_proxy")
  retry listens_at 7000 "${in_far[@]}"
}
start_near() {
  "${in_near[@]}" "$cproxy" -l "${chain[0]}" -r "$joint" "${striped[@]}" "${options[@]}" >>"$work/near-proxy.log" 2>&1 &
  near_proxy=$!
  pids+=("$near_proxy")
  case ${chain[0]} in
    udp:* | tun:*) ;; # whoever uses it tries until it works
    *) retry listens_at "${chain[0]##*:}" "${in_near[@]}" ;;
  esac
}
listens_at() { "${@:2}" ss -Hltn "sport = $1" | grep -q .; }

# Ends both by a signal and waits for that. Their sessions are at their ends then, or this is what ends them.
stop_proxies() {
  local status proxy
  kill "-$1" "$near_proxy" "$far_proxy"
  for proxy in "$near_proxy" "$far_proxy"; do
    status=0
    { wait "$proxy" || status=$?; } 2>/dev/null # bash would say that it was killed
    if [ "$1" = KILL ]; then [ "$status" = 137 ]; else [ "$status" = 0 ]; fi
  done
}

options=()
if [ "$kind" != plain ]; then
  (umask 077 && "$cproxy" --make-key >"$work/secret")
fi

# --- Transfers: the client has the file that the server has, too, and both say what its sum is

head -c 30000000 /dev/urandom >"$work/data"
cat >"$work/server.py" <<'PYTHON'
# Takes "put" and bytes up to the end, and answers with their sum; or "get", and answers with the file.
import hashlib, socket, sys, threading

def serve(client, path):
    client.settimeout(90)
    try:
        with client:
            verb = client.recv(4)
            if verb == b"get\n":
                with open(path, "rb") as data:
                    client.sendfile(data)
                client.shutdown(socket.SHUT_WR)
                client.recv(1)
            else:
                total = hashlib.sha256()
                while chunk := client.recv(65536):
                    total.update(chunk)
                client.sendall(total.hexdigest().encode())
    except OSError as error:
        print("server:", error, flush=True)

listener = socket.create_server(("127.0.0.1", 5001))
while True:
    threading.Thread(target=serve, args=(listener.accept()[0], sys.argv[1]), daemon=True).start()
PYTHON
cat >"$work/client.py" <<'PYTHON'
# Puts or gets the file, or both at once, and compares sums. Prints how long it took and the rate in Mbit/s.
import hashlib, socket, sys, threading, time

path, verbs = sys.argv[1], sys.argv[2].split("+")
data = open(path, "rb").read()
failures = []

def transfer(verb):
    try:
        with socket.create_connection(("127.0.0.1", 5000), timeout=90) as server:
            total, expected = hashlib.sha256(), hashlib.sha256(data).hexdigest()
            if verb == "put":
                server.sendall(b"put\n" + data)
                server.shutdown(socket.SHUT_WR)
                answer = b""
                while chunk := server.recv(65536):
                    answer += chunk
                answer = answer.decode()
            else:
                server.sendall(b"get\n")
                while chunk := server.recv(65536):
                    total.update(chunk)
                server.shutdown(socket.SHUT_WR)
                answer = total.hexdigest()
            if answer != expected:
                failures.append(f"{verb}: the sums differ: {answer or 'none'} and {expected}")
    except OSError as error:
        failures.append(f"{verb}: {error}")

start = time.monotonic()
threads = [threading.Thread(target=transfer, args=(verb,)) for verb in verbs]
for thread in threads: thread.start()
for thread in threads: thread.join()
if failures:
    sys.exit("; ".join(failures))
took = time.monotonic() - start
print(f"{took:.1f} s, {len(data) * 8 / took / 1e6:.1f} Mbit/s each way")
PYTHON
"${in_far[@]}" python3 "$work/server.py" "$work/data" >>"$work/server.log" 2>&1 &
pids+=($!)
retry listens_at 5001 "${in_far[@]}"

transfer() { timeout 120 "${in_near[@]}" python3 "$work/client.py" "$work/data" "$1"; }
# Begins one in each direction at once, and waits until they are well on their way.
begin_transfer() {
  local before
  before=$(carried 1)
  timeout 150 "${in_near[@]}" python3 "$work/client.py" "$work/data" put+get >"$work/transfer.log" 2>&1 &
  transfer=$!
  retry has_carried 1 $((before + 2000000))
}
is_running() { kill -0 "$transfer" 2>/dev/null; }
end_transfer() {
  local status=0
  wait "$transfer" || status=$?
  if [ "$status" != 0 ]; then return 1; fi
  echo "ok: $1: $(cat "$work/transfer.log")"
}

# What the near system has sent by a cable since the start, in bytes.
carried() { "${in_near[@]}" cat "/sys/class/net/cable$1/statistics/tx_bytes"; }
has_carried() { [ "$(carried "$1")" -ge "$2" ]; }
# Whether the cable that was out of use carries data again while the transfer goes on. Plain TCP keeps to one cable.
expect_used_again() {
  if [ "$kind" != plain ] || [ "$1" = 1 ]; then
    is_running
    retry has_carried "$1" $(($(carried "$1") + 1000000))
  fi
}

# --- Both cables carry

start_proxies 127.0.0.1:5000 127.0.0.1:5001
for direction in put get put+get; do
  before=("$(carried 1)" "$(carried 2)")
  rate=$(transfer "$direction")
  after=("$(carried 1)" "$(carried 2)")
  # What is got shows in what is sent only as acknowledgements.
  if [ "$kind" != plain ] && [ "$direction" != get ]; then
    for cable in 0 1; do [ $((after[cable] - before[cable])) -gt 9000000 ]; done
  fi
  echo "ok: $direction over two cables of 50 Mbit/s: $rate"
done
stop_proxies TERM

# As in the kernel's own test of multipath TCP (simult_flows), but without delays: the rate is to be near the sum.
# The cap counts headers, so 95 % of it is what data can have. A lower rate is said and is no failure, as the machine may
# be busy; bench/ measures rates.
head -c 8000000 "$work/data" >"$work/short"
mv "$work/data" "$work/long"
cp "$work/short" "$work/data"
for rates in "10 10" "10 3" "3 10" "30 10"; do
  read -r first second <<<"$rates"
  cap 1 "$first"
  cap 2 "$second"
  start_proxies 127.0.0.1:5000 127.0.0.1:5001
  for direction in put get; do
    rate=$(transfer "$direction")
    python3 - "$rate" "$first" "$second" "$kind" <<'PYTHON'
import re, sys
rate, first, second = float(re.search(r"([\d.]+) Mbit", sys.argv[1])[1]), int(sys.argv[2]), int(sys.argv[3])
limit = first if sys.argv[4] == "plain" else first + second
assert rate <= 1.05 * limit, (rate, limit)
if rate < 0.8 * limit:
    print(f"slow: {rate} of {limit} Mbit/s")
PYTHON
    echo "ok: $direction over cables of $first and $second Mbit/s: $rate"
  done
  stop_proxies TERM
done
mv "$work/long" "$work/data"
for cable in 1 2; do cap "$cable" 50; done

# --- Cables and lanes that fail during a transfer both ways

# The transfer has to be under way when a cable is back, so cables are slow.
for cable in 1 2; do cap "$cable" 10; done
for cable in 1 2; do
  keyed=
  if [ "$cable" = 2 ] && [ "$kind" != plain ]; then
    options=(--stripe-key "$work/secret")
    keyed=", with a key"
  fi
  start_proxies 127.0.0.1:5000 127.0.0.1:5001
  begin_transfer
  down "$cable"
  sleep 3 # the cable is away for this long
  up "$cable"
  cap "$cable" 10
  expect_used_again "$cable"
  end_transfer "cable $cable down and up again$keyed"

  begin_transfer
  lose "$cable"
  sleep 3
  cap "$cable" 10
  expect_used_again "$cable"
  end_transfer "every packet of cable $cable lost for 3 s$keyed"
  stop_proxies TERM
done

# One lane only: what has its port is sent by neither end.
start_proxies 127.0.0.1:5000 127.0.0.1:5001
begin_transfer
port=$("${in_near[@]}" ss -Htn state established "dst $address:7000" | awk '{ sub(/.*:/, "", $3); print $3; exit }')
[ -n "$port" ]
ip -n "$near" rule add pref 50 ipproto tcp sport "$port" dport 7000 blackhole
ip -n "$far" rule add pref 50 ipproto tcp sport 7000 dport "$port" blackhole
sleep 3
ip -n "$near" rule del pref 50
ip -n "$far" rule del pref 50
end_transfer "every packet of one lane lost for 3 s"

# All lanes, for less than the time after which a session is given up.
begin_transfer
for cable in 1 2; do down "$cable"; done
sleep 5
for cable in 1 2; do
  up "$cable"
  cap "$cable" 10
done
end_transfer "both cables down for 5 s"
stop_proxies TERM

# --- All lanes gone for too long: both ends get a reset, and the next session works

if [ "$kind" != plain ]; then
  options+=(--lane-timeout 3)
  start_proxies 127.0.0.1:5000 127.0.0.1:5001
  begin_transfer
  for cable in 1 2; do lose "$cable"; done
  status=0
  wait "$transfer" || status=$?
  [ "$status" = 1 ]
  grep -qi 'reset' "$work/transfer.log"
  retry grep -qi 'server:.*reset' "$work/server.log"
  for cable in 1 2; do cap "$cable" 50; done
  echo "ok: a session ends when no lane comes back, and another begins: $(transfer put)"
  stop_proxies TERM
  # So that what is left of a session does not keep a proxy for long.
  options=(--stripe-key "$work/secret" --lane-timeout 5)
fi

# --- Proxies that are killed and started again

for cable in 1 2; do cap "$cable" 50; done
start_proxies 127.0.0.1:5000 127.0.0.1:5001
begin_transfer
stop_proxies KILL
if wait "$transfer"; then
  echo "a transfer ended well without proxies" >&2
  exit 1
fi
start_proxies "${chain[@]}"
echo "ok: both proxies killed and started again: $(transfer put+get)"
# One of them only: what the other knows of the session before does no harm.
for end in near far; do
  begin_transfer
  killed=${end}_proxy
  kill -KILL "${!killed}"
  { wait "${!killed}" || true; } 2>/dev/null
  "start_$end"
  if wait "$transfer"; then
    echo "a transfer ended well without the $end proxy" >&2
    exit 1
  fi
  echo "ok: the $end proxy killed and started again: $(transfer put)"
done
stop_proxies TERM

# --- Real programs

for cable in 1 2; do cap "$cable" 100; done
ssh-keygen -q -t ed25519 -N '' -f "$work/key"
ssh-keygen -q -t ed25519 -N '' -f "$work/host_key"
cp "$work/key.pub" "$work/authorized_keys"
mkdir -p /run/sshd 2>/dev/null || true
"${in_far[@]}" "$(command -v sshd || echo /usr/sbin/sshd)" -D -e -f /dev/null -p 5022 -o ListenAddress=127.0.0.1 \
  -o HostKey="$work/host_key" -o AuthorizedKeysFile="$work/authorized_keys" -o StrictModes=no -o UsePAM=no \
  -o PidFile=none -o PasswordAuthentication=no -o PermitRootLogin=yes -o Subsystem="sftp internal-sftp" \
  >"$work/sshd.log" 2>&1 &
pids+=($!)
retry listens_at 5022 "${in_far[@]}"
start_proxies 127.0.0.1:5000 127.0.0.1:5022
ssh_options=(-i "$work/key" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR
             -o BatchMode=yes)
bounded=(timeout 120 "${in_near[@]}")
"${bounded[@]}" ssh "${ssh_options[@]}" -p 5000 127.0.0.1 cat <"$work/data" >"$work/ssh.out"
cmp "$work/data" "$work/ssh.out"
echo "ok: ssh, 30 MB there and back"
"${bounded[@]}" scp -q "${ssh_options[@]}" -P 5000 "$work/data" "127.0.0.1:$work/scp.there"
"${bounded[@]}" scp -q "${ssh_options[@]}" -P 5000 "127.0.0.1:$work/scp.there" "$work/scp.back"
cmp "$work/data" "$work/scp.back"
echo "ok: scp, up and down"
mkdir "$work/tree"
split -b 100000 "$work/data" "$work/tree/part-"
"${bounded[@]}" rsync -a -e "ssh ${ssh_options[*]} -p 5000" "$work/tree" "127.0.0.1:$work/rsync.there"
"${bounded[@]}" rsync -a -e "ssh ${ssh_options[*]} -p 5000" "127.0.0.1:$work/rsync.there/tree" "$work/rsync.back"
diff -r "$work/tree" "$work/rsync.back/tree"
echo "ok: rsync, 300 files up and down"
stop_proxies TERM

"${in_far[@]}" iperf3 -s -p 5201 >"$work/iperf3-server.log" 2>&1 &
pids+=($!)
retry listens_at 5201 "${in_far[@]}"
check_iperf3() {
  python3 - "$work/iperf3.json" "$1" <<'PYTHON'
import json, sys
end = json.load(open(sys.argv[1]))["end"]
sent, received = end["sum_sent"]["bytes"], end["sum_received"]["bytes"]
assert 1_000_000 < received <= sent, (sent, received)
print(f"ok: iperf3 {sys.argv[2]}, {received * 8 / end['sum_received']['seconds'] / 1e6:.0f} Mbit/s")
PYTHON
}
start_proxies 127.0.0.1:5000 127.0.0.1:5201
for direction in "" -R; do
  "${bounded[@]}" iperf3 -c 127.0.0.1 -p 5000 -t 3 -P 2 $direction -J >"$work/iperf3.json"
  check_iperf3 "${direction:-forward}"
done
stop_proxies TERM

# --- Datagrams: DNS, and a network device

for number in $(seq 200); do echo "host-record=host$number.zone.test,192.0.2.$number"; done >"$work/dnsmasq.conf"
"${in_far[@]}" dnsmasq --keep-in-foreground --conf-file="$work/dnsmasq.conf" --port=5053 --listen-address=127.0.0.1 \
  --bind-interfaces --no-resolv --no-hosts --pid-file= --user="$(id -un)" >"$work/dnsmasq.log" 2>&1 &
pids+=($!)
retry listens_at 5053 "${in_far[@]}"
start_proxies udp:127.0.0.1:5000 udp:127.0.0.1:5053 framed:
dig=("${bounded[@]}" dig @127.0.0.1 -p 5000 +short +ignore +notcp +tries=1)
retry "${dig[@]}" +timeout=1 host1.zone.test
seq -f 'host%g.zone.test' 200 >"$work/questions"
"${dig[@]}" +timeout=20 -f "$work/questions" >"$work/dig.out"
seq -f '192.0.2.%g' 200 | cmp - "$work/dig.out"
echo "ok: dig, 200 questions"
stop_proxies TERM

if [ -c /dev/net/tun ]; then
  end=1
  for system in "$near" "$far"; do
    ip -n "$system" tuntap add dev virtual mode tun
    ip -n "$system" address add "10.99.9.$((end++))/24" dev virtual
    ip -n "$system" link set virtual up
  done
  start_proxies tun:virtual tun:virtual framed:
  retry "${in_near[@]}" ping -q -c 1 -W 0.2 10.99.9.2
  ping_there() {
    local report
    report=$("${bounded[@]}" ping -q -c "$1" -i 0.01 -W 10 10.99.9.2) || true
    if ! grep -q " $1 received, 0% " <<<"$report"; then
      echo "$report" >&2
      return 1
    fi
  }
  ping_there 100
  echo "ok: ping through a device"
  "${bounded[@]}" iperf3 -c 10.99.9.2 -p 5201 -t 3 -J >"$work/iperf3.json"
  check_iperf3 "through a device"
  if [ "$kind" != plain ]; then
    # Nothing is lost while one of the cables is, only late.
    lose 2
    ping_there 100
    cap 2 100
    echo "ok: ping while every packet of a cable is lost"
  fi
  stop_proxies TERM
fi
