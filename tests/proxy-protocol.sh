#!/usr/bin/env bash
# The PROXY protocol with real peers: HAProxy and nginx before the proxy and behind it, over loopback.
# Usage: tests/proxy-protocol.sh [path of cproxy]
# Needs haproxy, nginx with its stream module, and python3. Their services need not run.
. "$(dirname "$0")/script.sh"
cproxy=$(realpath "${1:-target/release/cproxy}")
PATH=$PATH:/usr/sbin
cd "$work"

# --- Ports: of servers behind the proxy (b), of the proxy (p), and of the programs before it (f)

names=(b_nginx b_haproxy b_udp f_udp p_udp)
for to in nginx haproxy; do
  for version in v1 v2; do
    names+=("p_direct_${version}_$to" "p_${version}_$to")
    for front in haproxy1 haproxy2 nginx; do names+=("f_${front}_${version}_$to"); done
  done
done
names+=(p_tlvs f_tlvs p_unix f_unix p_distrusts f_distrusts)
# All at once, so that no two are equal.
eval "$(python3 - "${names[@]}" <<'PYTHON'
import socket, sys
held = []
for name in sys.argv[1:]:
    while True:
        tcp, udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
        tcp.bind(("127.0.0.1", 0))
        try:
            udp.bind(tcp.getsockname())
            break
        except OSError:
            held.append(tcp)
    held += [tcp, udp]
    print(f"{name}={tcp.getsockname()[1]}")
PYTHON
)"

# --- HAProxy, before and behind: a server that says who came, and what the header says beside

{
  cat <<CONF
global
  log stdout format raw local0
defaults
  mode tcp
  log global
  timeout connect 20s
  timeout client 60s
  timeout server 60s
frontend server
  mode http
  bind 127.0.0.1:$b_haproxy accept-proxy
  bind unix@$work/haproxy.sock accept-proxy
  http-request return status 200 content-type text/plain lf-string "%[src] %[src_port] %[dst] %[dst_port] %[fc_pp_unique_id]\n"
CONF
  for to in nginx haproxy; do
    for version in v1 v2; do
      port=p_${version}_$to
      for sent in 1 2; do
        front=f_haproxy${sent}_${version}_$to
        option=send-proxy
        [ "$sent" = 1 ] || option=send-proxy-v2
        printf 'listen %s\n  bind 127.0.0.1:%s\n  server proxy 127.0.0.1:%s %s\n' \
          "$front" "${!front}" "${!port}" "$option"
      done
    done
  done
  cat <<CONF
frontend f_tlvs
  bind 127.0.0.1:$f_tlvs
  unique-id-format one-of-%ci
  default_backend tlvs
backend tlvs
  server proxy 127.0.0.1:$p_tlvs send-proxy-v2 proxy-v2-options unique-id,crc32c
listen f_distrusts
  bind 127.0.0.1:$f_distrusts
  server proxy 127.0.0.1:$p_distrusts send-proxy-v2
listen f_unix
  bind 127.0.0.1:$f_unix
  server proxy unix@$work/proxy.sock send-proxy-v2
CONF
} >haproxy.cfg

# --- nginx, the same

module=$(find /usr/lib/nginx/modules /usr/lib64/nginx/modules -name ngx_stream_module.so 2>/dev/null | head -n 1 || true)
{
  [ -z "$module" ] || echo "load_module $module;"
  [ "$(id -u)" != 0 ] || echo "user root;"
  # shellcheck disable=SC2016 # nginx's own variables
  printf '%s\n' "daemon off; master_process off; pid $work/nginx.pid; error_log $work/nginx-errors.log info;" \
    'events {}' 'stream {' "server { listen 127.0.0.1:$b_nginx proxy_protocol; return" \
    '"$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port\n"; }'
  for to in nginx haproxy; do
    for version in v1 v2; do
      front=f_nginx_${version}_$to port=p_${version}_$to
      echo "server { listen 127.0.0.1:${!front}; proxy_pass 127.0.0.1:${!port}; proxy_protocol on; }"
    done
  done
  echo "server { listen 127.0.0.1:$f_udp udp; proxy_pass 127.0.0.1:$p_udp; proxy_protocol on; proxy_responses 2; }"
  echo '}'
} >nginx.conf

# --- The proxy: a service for each way

{
  for to in nginx haproxy; do
    remote=b_$to
    for version in v1 v2; do
      port=p_${version}_$to direct=p_direct_${version}_$to
      cat <<CONF
[service.${version}_$to]
listen = "127.0.0.1:${!port}"
remote = "127.0.0.1:${!remote}"
accept-proxy-from = ["localhost", "192.0.2.0/24"]
send-proxy = "$version"
[service.direct_${version}_$to]
listen = "127.0.0.1:${!direct}"
remote = "127.0.0.1:${!remote}"
send-proxy = "$version"
CONF
    done
  done
  cat <<CONF
[service.tlvs]
listen = "127.0.0.1:$p_tlvs"
remote = "127.0.0.1:$b_haproxy"
accept-proxy = true
send-proxy = "v2"
[service.distrusts]
listen = "127.0.0.1:$p_distrusts"
remote = "127.0.0.1:$b_haproxy"
accept-proxy-from = ["192.0.2.0/24", "unix"]
send-proxy = "v2"
[service.to-unix]
listen = "127.0.0.1:$p_unix"
remote = "unix:$work/haproxy.sock"
send-proxy = "v2"
[service.from-unix]
listen = "unix:$work/proxy.sock"
remote = "127.0.0.1:$b_haproxy"
accept-proxy-from = "unix"
send-proxy = "v1"
[service.datagrams]
listen = "udp:127.0.0.1:$p_udp"
remote = "udp:127.0.0.1:$b_udp"
accept-proxy = true
send-proxy = "v2"
proxy-datagrams = "first"
# The checks pass only with a header of their own, as those of the last service show.
CONF
  for version in v1 v2 none; do
    printf '[service.checks-%s]\nlisten = "unix:%s"\nremote = ["127.0.0.1:%s", "unix:%s"]\n' \
      "$version" "$work/checks-$version.sock" "$b_haproxy" "$work/haproxy.sock"
    printf 'check-interval = "100ms"\nrise = 1\nfall = 1\ncheck-timeout = "20s"\n'
    printf "check-send = 'GET / HTTP/1.0\\\\r\\\\n\\\\r\\\\n'\ncheck-expect = '200 OK'\n"
    [ "$version" = none ] || printf 'send-proxy = "%s"\n' "$version"
  done
} >cproxy.toml

# --- Clients and a server of datagrams

# Connects to a port, says nothing or asks for a page, and prints its own address, and what the server says.
cat >client.py <<'PYTHON'
import socket, sys

kind, port = sys.argv[1], int(sys.argv[2])
client = socket.create_connection(("127.0.0.1", port), 30, source_address=("127.0.0.9", 0))
if kind == "haproxy":
    client.sendall(b"GET / HTTP/1.0\r\n\r\n")
answer = b""
while data := client.recv(4096):
    answer += data
if kind == "haproxy":
    head, _, answer = answer.partition(b"\r\n\r\n")
    assert b"200" in head.split(b"\r\n")[0], head
print("%s %d" % client.getsockname(), "|", answer.decode().strip())
PYTHON

# Answers each datagram with the addresses of the header that it begins with, and with what is behind that.
cat >datagrams.py <<'PYTHON'
import socket, struct, sys

server = socket.socket(type=socket.SOCK_DGRAM)
server.bind(("127.0.0.1", int(sys.argv[1])))
print("ready", flush=True)
while True:
    datagram, sender = server.recvfrom(65536)
    who = "nobody"
    if datagram.startswith(b"\r\n\r\n\0\r\nQUIT\n"):
        kind, length = struct.unpack(">xBH", datagram[12:16])
        source, destination, *ports = struct.unpack(">4s4sHH", datagram[16:28])
        source, destination = socket.inet_ntoa(source), socket.inet_ntoa(destination)
        who = f"{source} {ports[0]} {destination} {ports[1]} kind {kind:#x}"
        datagram = datagram[16 + length:]
    server.sendto(f"{who}: {datagram.decode()}".encode(), sender)
PYTHON

haproxy -db -f haproxy.cfg >haproxy.log 2>&1 &
pids+=($!)
nginx -p "$work" -e "$work/nginx-errors.log" -c "$work/nginx.conf" >nginx.log 2>&1 &
pids+=($!)
python3 datagrams.py "$b_udp" >datagrams.log 2>&1 &
pids+=($!)
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1"); }
for port in "$b_haproxy" "$f_unix" "$b_nginx"; do retry listens "$port"; done
retry grep -q ready datagrams.log
# Its checks find all of these working.
"$cproxy" -v -c cproxy.toml >cproxy.log 2>&1 &
pids+=($!)
retry grep -q "listening on unix:.*checks-none" cproxy.log

# What a server of this kind says that a client at this port is: itself, connected to the second port.
names_the_client() {
  local kind=$1 port=$2 reached=$3 beside=${4:-} said client
  said=$(timeout 60 python3 client.py "$kind" "$port")
  client=${said%% |*}
  # HAProxy writes a hyphen, or nothing, for what the header does not say.
  said=$(sed 's/.*| //; s/ *-\?$//' <<<"$said")
  if [ "$said" != "$client 127.0.0.1 $reached$beside" ]; then
    echo "$kind at $port says '$said', the client is $client" >&2
    return 1
  fi
}

# --- Streams

for to in nginx haproxy; do
  for version in v1 v2; do
    direct=p_direct_${version}_$to
    names_the_client "$to" "${!direct}" "${!direct}"
    echo "ok: $to gets a header of $version"
    for front in haproxy1 haproxy2 nginx; do
      reached=f_${front}_${version}_$to
      names_the_client "$to" "${!reached}" "${!reached}"
    done
    echo "ok: $to gets in $version what HAProxy (send-proxy, send-proxy-v2) and nginx say"
  done
done

names_the_client haproxy "$f_tlvs" "$f_tlvs" " one-of-127.0.0.9"
echo "ok: what a header says beside addresses goes on, with a new checksum"
names_the_client haproxy "$p_unix" "$p_unix"
names_the_client haproxy "$f_unix" "$f_unix"
echo "ok: headers go over Unix sockets, both ways"

said=$(timeout 60 python3 client.py haproxy "$f_distrusts")
case ${said#* | } in
  "127.0.0.1 "*" 127.0.0.1 $p_distrusts"*) echo "ok: the header of a sender who is not believed is left unused" ;;
  *) echo "of a sender who is not believed: $said" >&2 && exit 1 ;;
esac
if timeout 60 python3 client.py haproxy "$p_tlvs" >refused 2>&1 || ! grep -q ConnectionResetError refused; then
  cat refused
  exit 1
fi
echo "ok: a client without a header is reset"

# --- Checks

# Where no header goes before what they say, no remote works. By then the others were checked as often.
retry grep -q "service checks-none: .* stays in use, as no other one works" cproxy.log
if grep -E "service checks-v[12]: .* check failed" cproxy.log; then exit 1; fi
echo "ok: checks begin with a header"

# --- Datagrams

timeout 60 python3 - "$f_udp" <<'PYTHON'
import socket, sys

client = socket.socket(type=socket.SOCK_DGRAM)
client.settimeout(30)
client.bind(("127.0.0.9", 0))
client.connect(("127.0.0.1", int(sys.argv[1])))
expected = "127.0.0.9 %d 127.0.0.1 %s" % (client.getsockname()[1], sys.argv[1])
client.send(b"one")
answer = client.recv(4096).decode()
assert answer.startswith(expected) and answer.endswith(": one"), answer
client.send(b"two")
assert client.recv(4096) == b"nobody: two"
PYTHON
echo "ok: nginx says who sends a session's datagrams, and so do we"
