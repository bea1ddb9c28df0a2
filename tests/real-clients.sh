#!/usr/bin/env bash
# Real programs through the proxy: what comes out is compared with what went in.
# Usage: tests/real-clients.sh [path of cproxy]
# Needs ssh, sshd, scp, curl, python3, git (with its daemon), iperf3, redis-server, redis-cli, redis-benchmark, nc,
# dnsmasq, dig and logger.
. "$(dirname "$0")/script.sh"
cproxy=$(realpath "${1:-target/release/cproxy}")

# A port that nobody uses now; the kernel picks it.
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# Waits until something listens on the port.
listening() {
  for _ in $(seq 600); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then return; fi
    sleep 0.1 # nothing to wait on: the programs do not say when they are ready
  done
  echo "nothing listens on port $1" >&2
  return 1
}

# Starts a proxy with these arguments and waits until it listens; sets $port to its listener's, if that has one.
start_proxy() {
  local log="$work/cproxy-$1.log" line
  shift
  "$cproxy" "$@" >"$log" &
  pids+=($!)
  for _ in $(seq 600); do
    if line=$(grep -m 1 "listening on " "$log"); then
      port=$(sed -n 's/.*:\([0-9]*\) (fd=.*/\1/p' <<<"$line")
      return
    fi
    kill -0 "${pids[-1]}"
    sleep 0.1
  done
  echo "no listener: $*" >&2
  return 1
}

# Starts a server, waits for its port, and puts a proxy before it; sets $port to the proxy's.
behind_proxy() {
  local name=$1 target=$2
  shift 2
  "$@" >"$work/$name.log" 2>&1 &
  pids+=($!)
  listening "$target"
  start_proxy "$name" -l 127.0.0.1:0 -r "127.0.0.1:$target"
}

same() {
  cmp "$1" "$2"
  echo "ok: $3"
}

head -c 20000000 /dev/urandom >"$work/data"

# ssh and scp
ssh-keygen -q -t ed25519 -N '' -f "$work/key"
ssh-keygen -q -t ed25519 -N '' -f "$work/host_key"
cp "$work/key.pub" "$work/authorized_keys"
target=$(free_port)
mkdir -p /run/sshd 2>/dev/null || true
behind_proxy sshd "$target" "$(command -v sshd || echo /usr/sbin/sshd)" -D -e -f /dev/null -p "$target" \
  -o ListenAddress=127.0.0.1 -o HostKey="$work/host_key" -o AuthorizedKeysFile="$work/authorized_keys" \
  -o StrictModes=no -o UsePAM=no -o PidFile=none -o PasswordAuthentication=no -o PermitRootLogin=yes \
  -o Subsystem="sftp internal-sftp"
options=(-i "$work/key" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o BatchMode=yes)
ssh "${options[@]}" -p "$port" 127.0.0.1 cat <"$work/data" >"$work/ssh.out"
same "$work/data" "$work/ssh.out" "ssh, 20 MB there and back"
scp -q "${options[@]}" -P "$port" "$work/data" "127.0.0.1:$work/scp.there"
scp -q "${options[@]}" -P "$port" "127.0.0.1:$work/scp.there" "$work/scp.back"
same "$work/data" "$work/scp.back" "scp, up and down"

# ssh, cut into datagrams and joined again
start_proxy ssh-out -l framed:localhost:0 -r "localhost:$target"
start_proxy ssh-in -l localhost:0 -r "framed:localhost:$port"
ssh "${options[@]}" -p "$port" localhost cat <"$work/data" >"$work/ssh-framed.out"
same "$work/data" "$work/ssh-framed.out" "ssh through a framed stream, 20 MB there and back"

# curl
target=$(free_port)
behind_proxy http "$target" python3 -m http.server --bind 127.0.0.1 --directory "$work" "$target"
curl -fsS "http://127.0.0.1:$port/data" -o "$work/curl.out"
same "$work/data" "$work/curl.out" "curl"

# git
git init -q "$work/repository"
cp "$work/data" "$work/repository/data"
git -C "$work/repository" add data
git -C "$work/repository" -c user.name=test -c user.email=test@localhost commit -q -m data
target=$(free_port)
behind_proxy git "$target" git daemon --reuseaddr --listen=127.0.0.1 --port="$target" --export-all \
  --base-path="$work" --informative-errors
git clone -q "git://127.0.0.1:$port/repository" "$work/clone"
git -C "$work/clone" fsck --no-progress
same "$work/data" "$work/clone/data" "git clone"

# iperf3, both directions; it ends a test without waiting for what is under way, so a little less is received
target=$(free_port)
behind_proxy iperf3 "$target" iperf3 -s -B 127.0.0.1 -p "$target"
for direction in "" -R; do
  iperf3 -c 127.0.0.1 -p "$port" -t 1 -P 4 $direction -J >"$work/iperf3.json"
  python3 - "$work/iperf3.json" "$direction" <<'PYTHON'
import json, sys
end = json.load(open(sys.argv[1]))["end"]
sent, received = end["sum_sent"]["bytes"], end["sum_received"]["bytes"]
assert 0 < received <= sent, (sent, received)
print(f"ok: iperf3 {sys.argv[2] or 'forward'}, {received} of {sent} bytes")
PYTHON
done

# redis
target=$(free_port)
behind_proxy redis "$target" redis-server --bind 127.0.0.1 --port "$target" --save '' --appendonly no --dir "$work"
redis-cli -p "$port" -x set data <"$work/data" >/dev/null
redis-cli -p "$port" --raw get data | head -c 20000000 >"$work/redis.out"
same "$work/data" "$work/redis.out" "redis, a value of 20 MB"
redis-benchmark -p "$port" -q -n 20000 -c 50 -t set,get,lrange_100 | tr '\r' '\n' | grep 'requests per second'
redis-benchmark -p "$port" -q -n 100000 -c 50 -P 16 -t set,get | tr '\r' '\n' | grep 'requests per second'
echo "ok: redis-benchmark"

# nc -N: the answer comes after the question has ended
target=$(free_port)
python3 - "$target" <<'PYTHON' &
import socket, sys
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen()
while True:
    client, _ = listener.accept()
    count = 0
    while chunk := client.recv(65536):
        count += len(chunk)
    client.sendall(b"%d\n" % count)
    client.close()
PYTHON
pids+=($!)
listening "$target"
start_proxy nc -l 127.0.0.1:0 -r "127.0.0.1:$target"
[ "$(nc -N 127.0.0.1 "$port" <"$work/data")" = 20000000 ]
echo "ok: nc -N gets its answer"

# The echo service
start_proxy echo -l 127.0.0.1:0 -r echo:
nc -N 127.0.0.1 "$port" <"$work/data" >"$work/echo.out"
same "$work/data" "$work/echo.out" "nc -N and the echo service"

# dig: each question comes from another port; from UDP into a framed stream and back
for number in $(seq 200); do echo "host-record=host$number.zone.test,192.0.2.$number"; done >"$work/dnsmasq.conf"
printf 'txt-record=long.zone.test,%0250d\n' $(seq 12) >>"$work/dnsmasq.conf"
target=$(free_port)
dnsmasq --keep-in-foreground --conf-file="$work/dnsmasq.conf" --port="$target" --listen-address=127.0.0.1 \
  --bind-interfaces --no-resolv --no-hosts --pid-file= --user="$(id -un)" --edns-packet-max=4096 \
  >"$work/dnsmasq.log" 2>&1 &
pids+=($!)
listening "$target" # it answers over TCP, too
start_proxy dns-out -l framed:127.0.0.1:0 -r "udp:127.0.0.1:$target"
start_proxy dns-in -l udp:127.0.0.1:0 -r "framed:127.0.0.1:$port"
seq -f 'host%g.zone.test' 200 >"$work/questions"
dig @127.0.0.1 -p "$port" +short +ignore +timeout=20 +tries=1 -f "$work/questions" >"$work/dig.out"
seq -f '192.0.2.%g' 200 >"$work/answers"
same "$work/answers" "$work/dig.out" "dig, 200 questions"
long=(+short +ignore +notcp +bufsize=4096 +timeout=20 +tries=1 long.zone.test TXT)
dig @127.0.0.1 -p "$target" "${long[@]}" | sort >"$work/long.direct"
dig @127.0.0.1 -p "$port" "${long[@]}" | sort >"$work/long.out"
[ "$(wc -c <"$work/long.out")" -gt 3000 ]
same "$work/long.direct" "$work/long.out" "dig, an answer of 3 kB"

# logger: from UDP to a Unix datagram socket such as /dev/log
python3 - "$work/syslog" >"$work/syslog.out" <<'PYTHON' &
import os, re, socket, sys
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind(sys.argv[1] + ".new")
os.rename(sys.argv[1] + ".new", sys.argv[1])
for _ in range(100):
    print(re.sub(r".* test: ", "", receiver.recv(65536).decode()), flush=True)
PYTHON
syslog=$!
pids+=($!)
until [ -S "$work/syslog" ]; do sleep 0.1; done
start_proxy syslog -l udp:127.0.0.1:0 -r "unixgram:$work/syslog"
seq -f 'line %g' 100 >"$work/lines"
logger -n 127.0.0.1 -P "$port" -d --rfc3164 -t test -f "$work/lines"
wait "$syslog"
same "$work/lines" "$work/syslog.out" "logger, 100 lines"
