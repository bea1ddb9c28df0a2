#!/usr/bin/env bash
# Three proxies behind one address, dealt out by a router, and five servers behind one name in a zone of dnsmasq.
# A server is taken out of the zone and put back, and a proxy is killed and comes back, while clients come and go.
# docs/scaling.md tells what this shows, with the figures that it prints.
# Usage: tests/scaling.sh [path of cproxy]
# Needs root, for network namespaces, and ip, tc, ss, sysctl, python3 and dnsmasq; Linux 5.14 or later.
. "$(dirname "$0")/script.sh"
cproxy=$(realpath "${1:-target/release/cproxy}")
router=cproxy-router-$$ clients=cproxy-clients-$$ servers=cproxy-servers-$$ proxy=cproxy-proxy-$$
if [ "$(id -u)" != 0 ] || ! ip netns add "$router"; then
  echo "SKIPPED: no network namespaces"
  exit 0
fi
others=("$clients" "$servers" "$proxy"-{1,2,3})
at_end() {
  local system
  for system in "$router" "${others[@]}"; do ip netns del "$system" 2>/dev/null || true; done
}

# --- The systems: a router in the middle, and a cable from it to each of the others

# The router deals out flows by addresses, protocol and ports (0x37). Policy 1 means the same; but between namespaces,
# where a packet has never left the kernel, it takes the hash that the sender has of it, which changes when the sender
# has to repeat itself.
ip -n "$router" link set lo up
ip netns exec "$router" sysctl -q -w net.ipv4.ip_forward=1 net.ipv4.fib_multipath_hash_policy=3 \
  net.ipv4.fib_multipath_hash_fields=0x37 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
number=0
for system in "${others[@]}"; do
  cable=10.99.$((++number))
  ip netns add "$system"
  ip -n "$system" link set lo up
  ip netns exec "$system" sysctl -q -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
  ip link add "cable$number" netns "$router" type veth peer name cable netns "$system"
  ip -n "$router" address add "$cable.1/24" dev "cable$number"
  ip -n "$router" link set "cable$number" up
  ip -n "$system" address add "$cable.2/24" dev cable
  ip -n "$system" link set cable up
  ip -n "$system" route add default via "$cable.1"
done

# Proxies 1 to 3 are at 10.99.3.2 to 10.99.5.2, and all of them have the address that clients know.
shared=10.99.0.80
for number in 1 2 3; do
  ip -n "$proxy-$number" address add "$shared/32" dev lo
  ip -n "$router" nexthop add id "$number" via "10.99.$((number + 2)).2" dev "cable$((number + 2))"
done
# Servers web1 to web5, and the one that knows the zone.
for number in 1 2 3 4 5 53; do ip -n "$servers" address add "10.99.20.$number/32" dev lo; done
ip -n "$router" route add 10.99.20.0/24 via 10.99.2.2
# Clients have any address of 10.99.10.0/24.
ip -n "$clients" route add local 10.99.10.0/24 dev lo
ip -n "$router" route add 10.99.10.0/24 via 10.99.1.2

# The route to the proxies of these numbers. A connection keeps to its proxy as long as that has a next hop: the group
# hands out buckets of flows, and gives only those of a proxy that is gone, or those that nothing has used for long, to
# another one.
if ! ip -n "$router" nexthop add id 10 group 1/2/3 type resilient buckets 4096 idle_timer 10; then
  echo "SKIPPED: no resilient groups of next hops"
  exit 0
fi
route_resilient() { ip -n "$router" nexthop replace id 10 group "$1" type resilient; }
# The same as routers without that do it, where a flow's place among all the next hops decides.
route_plain() {
  local number hops=()
  for number in $1; do hops+=(nexthop via "10.99.$((number + 2)).2"); done
  ip -n "$router" route replace "$shared" "${hops[@]}"
}
ip -n "$router" route add "$shared" nhid 10

# --- The zone, the servers and the proxies

# What the zone says of web.internal: the servers of these numbers.
write_zone() {
  for number in $1; do echo "10.99.20.$number web.internal"; done >"$work/zone.new"
  mv "$work/zone.new" "$work/zone"
}
write_zone "1 2 3 4 5"
ip netns exec "$servers" dnsmasq --keep-in-foreground --conf-file=/dev/null --listen-address=10.99.20.53 \
  --bind-interfaces --no-resolv --no-hosts --addn-hosts="$work/zone" --local=/internal/ --local-ttl=1 --pid-file= \
  --user="$(id -un)" >"$work/dnsmasq.log" 2>&1 &
dnsmasq=$!
pids+=("$dnsmasq")
set_zone() {
  write_zone "$1"
  kill -HUP "$dnsmasq"
}
cat >"$work/servers.py" <<'PYTHON'
# Answers each line with the name of the server and the address that the connection came from.
import asyncio

async def serve(reader, writer):
    try:
        me, peer = writer.get_extra_info("sockname")[0], writer.get_extra_info("peername")[0]
        while await reader.readline():
            writer.write(f"web{me.rsplit('.', 1)[1]} {peer}\n".encode())
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()

async def main():
    addresses = [f"10.99.20.{number}" for number in range(1, 6)]
    await (await asyncio.start_server(serve, addresses, 8080, backlog=1000)).serve_forever()

asyncio.run(main())
PYTHON
ip netns exec "$servers" python3 "$work/servers.py" >"$work/servers.log" 2>&1 &
pids+=($!)
listens_at() { ip netns exec "$1" ss -Hltn "sport = $2" | grep -q .; }
retry listens_at "$servers" 53
retry listens_at "$servers" 8080

echo "nameserver 10.99.20.53" >"$work/resolv.conf"
proxy_pids=()
# The namespace of mounts is the proxy's own, so it alone sees this resolv.conf.
start_proxy() {
  # shellcheck disable=SC2016 # The inner shell expands these.
  ip netns exec "$proxy-$1" sh -c 'mount --bind "$0" /etc/resolv.conf && exec "$@"' "$work/resolv.conf" \
    "$cproxy" -l "$shared:80" -r web.internal:8080 --resolve 1s --balance source --drain-timeout 1s \
    >>"$work/proxy$1.log" 2>&1 &
  proxy_pids[$1]=$!
  pids+=($!)
  retry listens_at "$proxy-$1" 80
}
for number in 1 2 3; do start_proxy "$number"; done

# --- The load: a client that connects, asks one line and goes, up to 200 a second; and 120 that stay

cat >"$work/clients.py" <<'PYTHON'
# Writes a line for each thing that happens: when it ended (in seconds), what, which session, the client's address, how
# long it took, and the server and the proxy, or what went wrong.
#   new:    a session that asked one line        failed: one that did not come to that
#   asked:  a session that stays asked a line    lost:   it ended      again: its client was connected again
import asyncio, itertools, os, socket, sys, time

number_of = itertools.count()
log = open(sys.argv[1], "a", buffering=1)
clients = [f"10.99.10.{number}" for number in range(1, 25)]

def tell(what, session, client, began, *rest):
    now = time.time()
    print(f"{now:.6f}", what, session, client, f"{now - began:.6f}", *rest, file=log)

async def ask(reader, writer):
    writer.write(b"who?\n")
    line = await asyncio.wait_for(reader.readline(), 20)
    if not line:
        raise EOFError
    server, proxy = line.decode().split()
    return server, f"proxy{int(proxy.split('.')[2]) - 2}"

def connect(client):
    opening = asyncio.open_connection("10.99.0.80", 80, local_addr=(client, 0), family=socket.AF_INET)
    return asyncio.wait_for(opening, 20)

def name(error):
    return os.strerror(error.errno).replace(" ", "-") if getattr(error, "errno", None) else type(error).__name__

async def short(client, room):
    began, session, writer = time.time(), next(number_of), None
    try:
        reader, writer = await connect(client)
        tell("new", session, client, began, *await ask(reader, writer))
    except (OSError, EOFError, asyncio.TimeoutError) as error:
        tell("failed", session, client, began, name(error))
    finally:
        room.release()
        if writer:
            writer.close()

async def long(client):
    lost = None
    while True:
        session, writer, answer = next(number_of), None, None
        try:
            reader, writer = await connect(client)
            answer = await ask(reader, writer)
            if lost:
                tell("again", session, client, lost, *answer)
                lost = None
            while True:
                tell("asked", session, client, time.time(), *answer)
                await asyncio.sleep(0.5)
                if await ask(reader, writer) != answer:
                    raise EOFError
        except (OSError, EOFError, asyncio.TimeoutError) as error:
            if answer:
                lost = time.time()
                tell("lost", session, client, lost, *answer, name(error))
        finally:
            if writer:
                writer.close()
        await asyncio.sleep(0.1)

async def main():
    tasks = set()
    for client in clients * 5:
        tasks.add(asyncio.create_task(long(client)))
        await asyncio.sleep(0.005)
    room = asyncio.Semaphore(50)
    for client in itertools.cycle(clients):
        await room.acquire()
        task = asyncio.create_task(short(client, room))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        await asyncio.sleep(0.005)

asyncio.run(main())
PYTHON
start_load() {
  log=$work/load$1.log
  ip netns exec "$clients" python3 "$work/clients.py" "$log" >"$work/clients.log" 2>&1 &
  load=$!
  pids+=("$load")
  retry test -s "$log"
}
now() { date +%s.%6N; }

cat >"$work/judge.py" <<'PYTHON'
# Reads what clients have written, and judges it, with figures; or waits for something in it.
import collections, statistics, sys, time

Entry = collections.namedtuple("Entry", "ended what session client took server proxy error began")
entries, source = [], open(sys.argv[1])

def read():
    """Reads the lines that are new, as far as they are whole."""
    while (line := source.readline()).endswith("\n"):
        ended, what, session, client, took, *rest = line.split()
        server, proxy = rest[:2] if what != "failed" else (None, None)
        error = rest[-1] if what in ("failed", "lost") else None
        ended, took = float(ended), float(took)
        entries.append(Entry(ended, what, int(session), client, took, server, proxy, error, ended - took))
    source.seek(source.tell() - len(line))

def some(*whats, since=0, until=float("inf")):
    return [entry for entry in entries if entry.what in whats and since <= entry.began < until]

def servers(since=0, until=float("inf")):
    """The servers that each client got."""
    found = collections.defaultdict(set)
    for entry in some("new", since=since, until=until):
        found[entry.client].add(entry.server)
    return found

def staying(at):
    """Sessions that stay and were there at this time."""
    found = {entry.session: entry for entry in some("asked") if entry.ended < at}
    for entry in some("lost", until=at):
        found.pop(entry.session, None)
    return found

def waits(entries):
    took = sorted(entry.took * 1000 for entry in entries)
    most = took[len(took) * 99 // 100]
    return f"median {statistics.median(took):.1f} ms, 99 % {most:.1f} ms, longest {took[-1]:.0f} ms"

# --- What is waited for

def wait(condition, *arguments):
    for _ in range(300):
        read()
        if globals()[condition](*arguments):
            return
        time.sleep(0.2)
    sys.exit(f"never came: {condition} {arguments}")

def many_since(since, count, *proxies):
    """So many sessions began and were answered since, through these proxies or any."""
    return sum(entry.proxy in proxies or not proxies for entry in some("new", since=float(since))) >= int(count)

def seen_since(since, *proxies):
    """Every client had an answer through each of the proxies."""
    pairs = {(entry.client, entry.proxy) for entry in some("new", since=float(since))}
    return all((f"10.99.10.{client}", proxy) in pairs for client in range(1, 25) for proxy in proxies)

def has_moved(since, changed, server, onto):
    """All clients of the server, through each proxy, have come to another one since it changed, or are back at it."""
    before = some("new", since=float(since), until=float(changed))
    clients = {entry.client for entry in before if entry.server == server}
    latest = {(entry.client, entry.proxy): entry.server for entry in some("new", since=float(changed))}
    found = [latest.get((entry.client, entry.proxy)) for entry in before if entry.client in clients]
    return all(now == server if onto == "back" else now not in (server, None) for now in found)

def all_stay(since):
    """All sessions that were there, and were not lost, have asked and been answered since."""
    answered = collections.Counter(entry.session for entry in some("asked", since=float(since)))
    lost = {entry.session for entry in some("lost")}
    return all(session in lost or answered[session] > 1 for session in staying(float(since)))

def all_again():
    """Every client that lost a session has another one."""
    return len(some("again")) >= len(some("lost"))

# --- What must be so

def nothing_failed(since=0):
    bad = some("failed", "lost", since=float(since))
    assert not bad, bad[:10]

def agreed(since, until=float("inf")):
    """Each client got the same server from all proxies."""
    found = servers(float(since), float(until))
    assert len(found) == 24, found
    split = {client: servers for client, servers in found.items() if len(servers) != 1}
    assert not split, split
    return {client: next(iter(servers)) for client, servers in found.items()}

def judge_start(since):
    since = float(since)
    nothing_failed()
    shares = collections.Counter(agreed(since).values())
    assert len(shares) == 5, shares
    proxies = collections.Counter(entry.proxy for entry in some("new", since=since))
    print(f"ok: 24 clients have the same servers through three proxies: {len(some('new'))} sessions, none failed")
    print("    clients of web1 to web5:", *(shares[f"web{number}"] for number in range(1, 6)))
    print("    sessions through each proxy:", *(proxies[f"proxy{number}"] for number in range(1, 4)))
    print("    from connecting to the answer:", waits(some("new", since=since)))

def judge_zone(start, changed, moved, server):
    start, changed, moved = float(start), float(changed), float(moved)
    nothing_failed()
    before, after = agreed(start, changed), agreed(moved)
    assert server not in after.values(), after
    for client, kept in before.items():
        assert kept == server or after[client] == kept, (client, kept, after[client])
    last = max((entry.began for entry in some("new", since=changed) if entry.server == server), default=changed)
    stayed = [entry for entry in staying(changed).values() if entry.server == server]
    assert stayed
    shares = collections.Counter(new for client, new in after.items() if before[client] == server)
    print(f"ok: {server} is out of the zone: its {len(stayed)} sessions went on, new ones went elsewhere, none failed")
    print(f"    the last new session on it began {last - changed:.2f} s after the change")
    print("    its clients went to", ", ".join(f"{server} ({count})" for server, count in sorted(shares.items())))
    print("    from connecting to the answer:", waits(some("new", since=changed)))

def judge_back(start, changed, until, back, server):
    nothing_failed()
    assert agreed(start, changed) == agreed(back)
    first = min(entry.began for entry in some("new", since=float(until)) if entry.server == server)
    print(f"ok: {server} is in the zone again: its clients are back, the others stayed, none failed")
    print(f"    the first new session on it began {first - float(until):.2f} s after the change")

def judge_killed(start, killed, routed, proxy, what, route):
    killed, routed = float(killed), float(routed)
    before, after = agreed(start, killed), agreed(routed)
    assert before == after
    failed = [entry for entry in some("failed") if entry.ended >= killed]
    wrong = [entry for entry in failed if entry.began >= routed]
    assert not wrong, wrong
    assert proxy not in {entry.proxy for entry in some("new", since=routed)}
    there = staying(killed)
    theirs = {session for session, entry in there.items() if entry.proxy == proxy}
    lost = {entry.session for entry in some("lost", since=killed)}
    assert theirs and theirs <= lost, theirs - lost
    others = lost - theirs
    if route == "resilient":
        assert not others, [entry for entry in some("lost") if entry.session in others]
    meanwhile = collections.Counter(entry.error for entry in failed)
    through = some("new", since=killed, until=routed)
    again = max(entry.took for entry in some("again") if entry.began >= killed)
    new = some("new", since=routed)
    print(f"ok: {proxy} was {what}, {route} route: {len(new)} new sessions since its next hop is gone, none failed")
    rest = len(there) - len(theirs)
    print(f"    sessions lost: {len(theirs)} of {len(theirs)} on it, {len(others)} of {rest} on others")
    all = len(failed) + len(through)
    print(f"    failed in the {routed - killed:.2f} s before that: {len(failed)} of {all} new sessions",
          *(f"({error}: {count})" for error, count in meanwhile.items()))
    print("    from connecting to the answer, of those that came through then:", waits(through))
    print(f"    who lost a session had another one {again:.2f} s later at most")
    print("    from connecting to the answer, since:", waits(new))

def judge_returned(start, killed, returned, proxy):
    nothing_failed(returned)
    assert agreed(start, killed) == agreed(returned)
    first = min(entry.began for entry in some("new", since=float(returned)) if entry.proxy == proxy)
    print(f"ok: {proxy} is back, with the same servers for each client: no session was lost, none failed")
    print(f"    its first session began {first - float(returned):.2f} s after it had its next hop")

read()
globals()[sys.argv[2]](*sys.argv[3:])
PYTHON
judge() { python3 "$work/judge.py" "$log" "$@"; }

# --- All work

start_load 1
start=$(now)
judge wait seen_since "$start" proxy1 proxy2 proxy3
judge judge_start "$start"

# --- A server is taken out of the zone, and put back

changed=$(now)
set_zone "1 2 4 5"
judge wait has_moved "$start" "$changed" web3 away
moved=$(now)
judge wait seen_since "$moved" proxy1 proxy2 proxy3
judge wait all_stay "$moved"
judge judge_zone "$start" "$changed" "$moved" web3

restored=$(now)
set_zone "5 4 3 2 1"
judge wait has_moved "$start" "$restored" web3 back
back=$(now)
judge wait seen_since "$back" proxy1 proxy2 proxy3
judge wait all_stay "$back"
judge judge_back "$start" "$changed" "$restored" "$back" web3

# --- A proxy is killed, and comes back

# Ends a proxy without a word to anybody; its kernel resets what it had, and refuses clients.
kill_proxy() {
  killed=$(now)
  kill -KILL "${proxy_pids[$1]}"
  { wait "${proxy_pids[$1]}" || true; } 2>/dev/null # bash would say that it was killed
  sleep 1 # a routing daemon needs its time to notice
}
# The same for a machine that is gone: every packet is lost.
cut_off_proxy() {
  killed=$(now)
  tc -n "$router" qdisc replace dev "cable$(($1 + 2))" root blackhole
  tc -n "$proxy-$1" qdisc replace dev cable root blackhole
  sleep 1
}
restore_proxy() {
  tc -n "$router" qdisc delete dev "cable$(($1 + 2))" root
  tc -n "$proxy-$1" qdisc delete dev cable root
}
# Waits until clients have had the time to notice what came of it.
await_clients() {
  judge wait seen_since "$routed" "$@"
  judge wait many_since "$routed" 500
  judge wait all_stay "$routed"
  judge wait all_again
}
start=$back
kill_proxy 2
route_resilient "1/3"
routed=$(now)
await_clients proxy1 proxy3
judge judge_killed "$start" "$killed" "$routed" proxy2 killed resilient

start_proxy 2
route_resilient "1/2/3"
returned=$(now)
judge wait many_since "$returned" 100 proxy2
judge wait all_stay "$returned"
judge judge_returned "$start" "$killed" "$returned" proxy2

# --- The machine of a proxy is gone

start=$returned
cut_off_proxy 3
route_resilient "1/2"
routed=$(now)
await_clients proxy1 proxy2
judge judge_killed "$start" "$killed" "$routed" proxy3 "cut off" resilient
restore_proxy 3

# --- A proxy is killed, with a route that does not know which proxy a connection has

kill "$load"
{ wait "$load" || true; } 2>/dev/null
route_plain "1 2 3"
start_load 2
start=$(now)
judge wait seen_since "$start" proxy1 proxy2 proxy3
kill_proxy 1
route_plain "2 3"
routed=$(now)
await_clients proxy2 proxy3
judge judge_killed "$start" "$killed" "$routed" proxy1 killed plain
