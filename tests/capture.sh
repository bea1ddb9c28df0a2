#!/usr/bin/env bash
# Captures, as tshark reads them: it gives back exactly the bytes, and finds nothing wrong with the connections.
# Usage: tests/capture.sh [path of cproxy]
# Needs tshark and python3; and root for a disk that is full, which is left out without.
. "$(dirname "$0")/script.sh"
cproxy=$(realpath "${1:-target/release/cproxy}")

cat >"$work/sessions.py" <<'PYTHON'
"""Runs the proxy and sessions through it, and compares what they moved with what tshark finds in the capture."""
import os, random, re, socket, struct, subprocess, sys, threading, time

cproxy, work = sys.argv[1:3]
capture = os.path.join(work, "x.pcapng")


def until(what, condition):
    deadline = time.monotonic() + 60
    while not (result := condition()):
        if time.monotonic() > deadline:
            sys.exit(f"FAILED: {what}")
        time.sleep(0.02)
    return result


def expect(what, got, wanted):
    if got != wanted:
        sys.exit(f"FAILED: {what}: {str(got)[:500]} and not {str(wanted)[:500]}")
    print(f"ok: {what}")


class Proxy:
    """A proxy, whose log is read for the addresses that it listens on."""

    def __init__(self, name, *flags):
        self.log = os.path.join(work, name + ".log")
        with open(self.log, "w") as log:
            self.process = subprocess.Popen([cproxy, "--drain-timeout", "20s", *flags], stdout=log, stderr=log)
        until("the proxy starts", lambda: "listening" in self.text() or self.process.poll() is not None)

    def text(self):
        with open(self.log) as log:
            return log.read()

    def port(self):
        return int(re.search(r"listening on \S+:(\d+) ", self.text()).group(1))

    def stop(self):
        self.process.terminate()
        expect("the proxy ends", self.process.wait(60), 0)


def tshark(*arguments, path=capture):
    result = subprocess.run(["tshark", "-n", "-r", path, *arguments], capture_output=True, text=True)
    return result.stdout, result.returncode


def fields(*names, path=capture, matching="frame", options=()):
    out, _ = tshark(*options, "-Y", matching, "-T", "fields", "-E", "separator=|", *[x for name in names for x in ("-e", name)], path=path)
    return [tuple(line.split("|")) for line in out.splitlines()]


def follow(count, kind="tcp"):
    """What the two ends of each stream sent, as `-z follow` tells it: the lines of the second end are indented."""
    out, _ = tshark("-q", *[x for number in range(count) for x in ("-z", f"follow,{kind},raw,{number}")])
    streams = {}
    for text in out.split("Filter: ")[1:]:
        lines = text.splitlines()
        number, sent = int(lines[0].split()[-1]), [b"", b""]
        for line in lines[3:]:
            if line.startswith("="):
                break
            sent[line.startswith("\t")] += bytes.fromhex(line.strip())
        streams[number] = tuple(sent)
    return [streams[number] for number in range(count)]


def listening(kind=socket.SOCK_STREAM):
    listener = socket.socket(socket.AF_INET, kind)
    listener.bind(("127.0.0.1", 0))
    if kind == socket.SOCK_STREAM:
        listener.listen(50)
    return listener, listener.getsockname()[1]


def read_all(connection):
    got = b""
    while data := connection.recv(1 << 20):
        got += data
    return got


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


# --- Streams: a half-close with an answer after it, resets by either side, and much in both directions

remote, port = listening()
unix = os.path.join(work, "listener")
proxy = Proxy("streams", "-l", "tcp:127.0.0.1:0", "-l", f"unix:{unix}", "-r", f"tcp:127.0.0.1:{port}", "--capture", capture)
to_proxy = ("127.0.0.1", proxy.port())
wanted = []


def session(act, address=to_proxy):
    client = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    client.settimeout(60)
    client.connect(address)
    server, _ = remote.accept()
    server.settimeout(60)
    own = client.getsockname()
    wanted.append(act(client, server))
    return own


def half_close(client, server):
    client.sendall(b"GET / HTTP/1.0\r\n\r\n")
    client.shutdown(socket.SHUT_WR)
    assert read_all(server) == b"GET / HTTP/1.0\r\n\r\n"
    server.sendall(b"late")
    assert client.recv(4) == b"late"
    server.sendall(b" answer")
    server.close()
    assert read_all(client) == b" answer"
    return b"GET / HTTP/1.0\r\n\r\n", b"late answer", "FF"


def reset_by(side):
    def act(client, server):
        client.sendall(b"hello")
        assert server.recv(5) == b"hello"
        server.sendall(b"world!")
        assert client.recv(6) == b"world!"
        reset((client, server)[side])
        try:
            assert (server, client)[side].recv(1) == b"never"
        except ConnectionResetError:
            pass
        return b"hello", b"world!", "R"

    return act


def much(client, server):
    up, down = random.Random(1).randbytes(3_000_000), random.Random(2).randbytes(5_000_000)

    def send(connection, data):
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)

    senders = [threading.Thread(target=send, args=pair) for pair in ((client, up), (server, down))]
    received = {}
    readers = [threading.Thread(target=lambda c=c: received.__setitem__(c, read_all(c))) for c in (client, server)]
    for thread in senders + readers:
        thread.start()
    for thread in senders + readers:
        thread.join()
    assert received == {client: down, server: up}
    return up, down, "FF"


def silent(client, server):
    client.close()
    server.close()
    return b"", b"", "FF"


begun = time.time()
owns = [session(act) for act in (half_close, reset_by(0), reset_by(1), much, silent)]
session(half_close, unix)
proxy.stop()
ended = time.time()

expect("the streams have the bytes that went", follow(len(wanted)), [(up, down) for up, down, _ in wanted])
# Each once, so that tshark reads the file once.
names = ("tcp.stream tcp.flags.syn tcp.flags.ack tcp.flags.fin tcp.flags.reset ip.src tcp.srcport ip.dst tcp.dstport "
         "frame.time_epoch tcp.checksum.status ip.checksum.status tcp.analysis.flags _ws.malformed frame.comment").split()
checked = ("-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE")
packets = [dict(zip(names, line)) for line in fields(*names, options=checked)]
is_set = lambda packet, flag: packet[f"tcp.flags.{flag}"] in ("1", "True")
ends = ["".join("R" if is_set(packet, "reset") else "F" for packet in packets if packet["tcp.stream"] == str(number)
                and (is_set(packet, "fin") or is_set(packet, "reset"))) for number in range(len(wanted))]
expect("they end as they did", ends, [how for _, _, how in wanted])
expect("nothing is wrong with any packet", [p for p in packets if p["tcp.analysis.flags"] or p["_ws.malformed"]], [])
expect("checksums are right", {(p["tcp.checksum.status"], p["ip.checksum.status"]) for p in packets}, {("1", "1")})
first = [packet for packet in packets if is_set(packet, "syn") and not is_set(packet, "ack")]
ways = [tuple(packet[name] for name in ("ip.src", "tcp.srcport", "ip.dst", "tcp.dstport")) for packet in first]
expect("addresses and ports are true", ways[:5], [(ip, str(own), "127.0.0.1", str(to_proxy[1])) for ip, own in owns])
expect("clients of Unix sockets have an address", ways[5:], [("127.1.0.0", "1024", "127.0.0.1", "1")])
expect("remarks say who the remote is", [p["frame.comment"].endswith(f"to remote 127.0.0.1:{port}") for p in first], [True] * 6)
times = [float(packet["frame.time_epoch"]) for packet in packets]
expect("times are true", begun - 1 <= min(times) and max(times) <= ended + 1 and times == sorted(times), True)
expect("the file is for its owner alone", os.stat(capture).st_mode & 0o777, 0o600)

# --- Datagrams

remote_udp, port = listening(socket.SOCK_DGRAM)
remote_udp.settimeout(60)
proxy = Proxy("datagrams", "-l", "udp:127.0.0.1:0", "-r", f"udp:127.0.0.1:{port}", "--capture", capture)
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(60)
client.bind(("127.0.0.1", 0))
for datagram in (b"one", b"", b"three" * 1000):
    client.sendto(datagram, ("127.0.0.1", proxy.port()))
    got, source = remote_udp.recvfrom(65536)
    assert got == datagram
    remote_udp.sendto(b"re: " + datagram, source)
    assert client.recv(65536) == b"re: " + datagram
proxy.stop()
expect("datagrams are packets each", fields("udp.srcport", "udp.dstport", "udp.length"),
       [(str(a), str(b), str(8 + n)) for n in (3, 0, 5000) for a, b, n in
        ((client.getsockname()[1], proxy.port(), n), (proxy.port(), client.getsockname()[1], n + 4))])
expect("and have their bytes", follow(1, "udp"), [(b"one" + b"three" * 1000, b"re: onere: re: " + b"three" * 1000)])

# --- Some bytes of some sessions

remote, port = listening()
proxy = Proxy("some", "-l", "tcp:127.0.0.1:0", "-r", f"tcp:127.0.0.1:{port}", "--capture", capture,
              "--capture-filter", "127.0.0.9", "--capture-bytes", "9")
to_proxy = ("127.0.0.1", proxy.port())
for source in ("127.0.0.1", "127.0.0.9"):
    client = socket.create_connection(to_proxy, source_address=(source, 0))
    server, _ = remote.accept()
    half_close(client, server)
proxy.stop()
expect("only the sessions of the filter are captured", {a[0] for a in fields("ip.src")} - {"127.0.0.1"}, {"127.0.0.9"})
expect("of one of them so many bytes", (len(fields("tcp.flags", matching="tcp.flags.syn==1 && tcp.flags.ack==0")), follow(1)), (1, [(b"GET / HTT", b"")]))
expect("which leaves no gap", fields("frame.number", matching="tcp.analysis.flags"), [])

# --- A proxy that is killed, and files of a size

proxy = Proxy("killed", "-l", "tcp:127.0.0.1:0", "-r", f"tcp:127.0.0.1:{port}", "--capture", capture,
              "--capture-size", "4m", "--capture-files", "3")
client = socket.create_connection(("127.0.0.1", proxy.port()))
server, _ = remote.accept()
stop = threading.Event()


def send():
    try:
        while not stop.is_set():
            client.sendall(bytes(65536))
    except OSError:
        pass


def drop():
    try:
        while server.recv(1 << 20):
            pass
    except OSError:
        pass


threads = [threading.Thread(target=job) for job in (send, drop)]
for thread in threads:
    thread.start()
until("files are renamed", lambda: os.path.exists(capture + ".2"))
proxy.process.kill()
proxy.process.wait()
stop.set()
for thread in threads:
    thread.join()
sizes = {name: os.path.getsize(os.path.join(work, name)) for name in os.listdir(work) if name.startswith("x.pcapng")}
expect("there are as many files as there may be", sorted(sizes), ["x.pcapng", "x.pcapng.1", "x.pcapng.2"])
expect("none is larger than it may be", max(sizes.values()) <= 4 << 20, True)
for name in sizes:
    expect(f"{name} opens", len(fields("frame.number", path=os.path.join(work, name))) > 0, True)

# --- A disk that is full: sessions go on, the file is whole, and says what is missing

small = os.path.join(work, "small")
os.mkdir(small)
if os.geteuid() == 0 and subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", small]).returncode == 0:
    try:
        on_small = os.path.join(small, "x.pcapng")
        proxy = Proxy("full", "-l", "tcp:127.0.0.1:0", "-r", f"tcp:127.0.0.1:{port}", "--capture", on_small)
        client = socket.create_connection(("127.0.0.1", proxy.port()))
        server, _ = remote.accept()
        filler = os.path.join(small, "filler")
        with open(filler, "wb") as file:
            file.write(bytes(3 << 20))
        part = random.Random(3).randbytes(1 << 20)

        def move():
            sender = threading.Thread(target=client.sendall, args=(part,))
            sender.start()
            left = len(part)
            while left:
                left -= len(server.recv(left))
            sender.join()

        for _ in range(3):
            move()
        until("the log says that the disk is full", lambda: "No space left on device" in proxy.text())
        os.remove(filler)
        client.sendall(b"x")
        server.recv(1)
        until("the capture goes on", lambda: (move(), os.path.getsize(on_small) > (2 << 20) + 4096)[1])
        client.close()
        server.close()
        proxy.stop()
        _, status = tshark("-q", path=on_small)
        expect("a file on a disk that was full is whole", status, 0)
        lost = fields("tcp.seq", matching="tcp.analysis.lost_segment", path=on_small)
        expect("what is missing shows", len(lost) > 0, True)
        expect("sessions did not end for it", bool(fields("tcp.seq", matching="tcp.flags.fin==1", path=on_small)), True)
    finally:
        subprocess.run(["umount", "-l", small])
else:
    print("SKIPPED: a disk that is full, for which root is needed")
PYTHON

python3 "$work/sessions.py" "$cproxy" "$work"
echo "captures: all well"
