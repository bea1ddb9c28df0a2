"""Looks at one proxy in all the ways that people do; see tests/page.sh."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import pictures
from browser import Browser
from proxy import PATIENCE, Client, Proxy, Server, Traffic
from terminal import Terminal

PROGRAM, WORK, SECONDS, IMAGES = sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4]

CONFIG = """
status = "127.0.0.1:0"
drain-timeout = "60s"

[service.web]
listen = "127.0.0.1:0"
check-interval = "200ms"
remote = ["{0},weight=2", "{1}", "{2}", "{3},backup"]

[service.database]
listen = "127.0.0.1:0"
remote = "{4}"

[service.dns]
listen = "udp:127.0.0.1:0"
remote = "echo:"
"""


def ok(text):
    print(f"ok: {text}", flush=True)


def retry(what, act):
    """Tries until it is true."""
    deadline = time.monotonic() + PATIENCE
    while True:
        why = None
        try:
            value = act()
        except (OSError, ValueError) as error:
            value, why = None, error
        if value:
            return value
        assert time.monotonic() < deadline, f"never: {what} ({why})"
        time.sleep(0.05)


def get(address):
    """The status and the text of an answer."""
    try:
        with urllib.request.urlopen(address, timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


# --- What is looked at

servers = [Server(f"127.0.10.{number}") for number in [1, 2, 4, 5]]
remotes = [server.name for server in servers]
# Nobody listens at the third, which checks find out.
remotes.insert(2, f"127.0.10.3:{free_port()}")
proxy = Proxy(PROGRAM, WORK, CONFIG.format(*remotes), ["-t", "2"])
base = proxy.line(r"status page at (http://\S+)")[1]
at = base.removeprefix("http://").rstrip("/")


def listener(service):
    """Where a service listens, as the status has it."""
    services = json.loads(get(base + "status.json")[1])["services"]
    address = next(one for one in services if one["name"] == service)["listeners"][0]
    host, port = address.rsplit(":", 1)
    return host, int(port)


web, database = listener("web"), listener("database")
traffic = Traffic()
for number in range(12):
    client = Client(web, f"127.0.1.{number + 1}")
    client.get(1000 * (12 - number))
    traffic.add(client, 1500 * (number + 1), 0.05)
for number in range(4):
    client = Client(database, f"127.0.2.{number + 1}")
    traffic.add(client, 300, 0.1)
retry("the third remote is down", lambda: '"state":"down"' in get(base + "status.json")[1].replace(" ", ""))

# --- The page in a browser

browser = Browser(WORK)
browser.colours("light")
browser.size(1280, 1000)
browser.load(base)
rows = "document.querySelectorAll('#sessions tbody tr').length"
assert browser.value("document.querySelectorAll('#services tbody tr').length") == 3
assert browser.value("document.querySelectorAll('#remotes tbody tr').length") == 6
assert browser.value(rows) == 16
assert "down" in browser.value("document.querySelector('#remotes').innerText")
browser.until("document.documentElement.dataset.live === '1'", "the page is live")
ok("the page has the services, remotes and sessions")

# Whatever is clicked and whatever comes, this page is not loaded again.
browser.value("window.mark = 1")
new = Client(web, "127.0.3.1")
row = f"[...document.querySelectorAll('#sessions tbody tr')].find(row => row.innerText.includes('{new.name}'))"
browser.until(f"!!{row}", "the new session is there")
new.get(123_000_000)
retry("its bytes are told", lambda: "123000000" in get(base + "status.json")[1])
browser.until(f"/\\b1(17|23)\\b/.test(({row}).innerText)", "its bytes are there")
new.end()
browser.until(f"!{row}", "the session is gone")
ok("a session appears, moves bytes and goes")

# The order of addresses is that of the text or that of the numbers; these have neither before the other.
clients = "[...document.querySelectorAll('#sessions tbody tr')].map(row => row.innerText.match(/127\\.0\\.[0-9.]+:/)[0])"
for heading in ["client", "client"]:
    order = browser.value("document.querySelector('th[data-sort=client]').ariaSort")
    browser.click(f"th[data-sort={heading}] a")
    browser.until(f"!['{order}', null].includes(document.querySelector('th[data-sort=client]').ariaSort)")
    found = browser.value(clients)
    wanted = {"ascending": "127.0.1.1:", "descending": "127.0.2.4:"}
    order = browser.value("document.querySelector('th[data-sort=client]').ariaSort")
    assert found[0] == wanted[order] and len(found) == 16, (order, found)
assert browser.value("location.search").startswith("?sort=client")
assert browser.value("window.mark") == 1
ok("a click sorts, and another one turns the order round, without the page being loaded")

colour = "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).slice(0, 3).reduce((a, b) => +a + +b, 0)"
assert browser.value(colour) > 600
browser.colours("dark")
assert browser.value(colour) < 150
for width in [320, 390]:
    browser.size(width, 844, is_phone=True)
    assert browser.value("document.documentElement.scrollWidth") <= width, width
assert browser.value("[...document.querySelectorAll('#chart svg')].every(svg => svg.getBoundingClientRect().width > 250)")
ok("it is light or dark, and fits on a phone")

complaints = browser.complaints()
assert not complaints, complaints
strange = [address for address in browser.addresses() if not address.startswith((base, "about:"))]
assert not strange, strange
ok("nothing fails, and nothing comes from elsewhere")

browser.size(1280, 1000)
browser.call("Emulation.setScriptExecutionDisabled", value=True)
browser.load(base)
assert browser.value("document.documentElement.dataset.live || 'no'") == "no"
assert browser.value(rows) == 16
browser.click("th[data-sort=client] a")
browser.until("location.search.startsWith('?sort=client') && document.readyState === 'complete'")
browser.until(f"{clients}.length === 16")
ok("without a script it is whole, and sorts by links")
browser.call("Emulation.setScriptExecutionDisabled", value=False)

if IMAGES:
    pictures.write(browser, base, [(web, 200_000), (database, 2_000)], IMAGES)

# --- In a terminal

terminal = Terminal(PROGRAM, "top", at)
has = lambda text: lambda lines: any(text in line for line in lines)
terminal.until("services", has("database"))
terminal.until("remotes", has(remotes[2]))
terminal.until("a rate", lambda lines: any(line.startswith("web ") and line.split()[4][-1] in "kM" for line in lines))
terminal.press(b"\t\t\tz")
terminal.until("sessions alone", lambda lines: lines[2].startswith("CLIENT") and sum(
    line.startswith("127.0.") for line in lines) == 16)
# Eight times to the left is the first column.
terminal.press(b"\x1b[D" * 8)
terminal.until("sorted by client", lambda lines: lines[3].startswith("127.0.1.1:") and lines[18].startswith("127.0.2.4:"))
terminal.press(b"r")
terminal.until("the other way", lambda lines: lines[3].startswith("127.0.2.4:"))
terminal.press(b"q")
assert terminal.end() == 0
terminal = Terminal(PROGRAM, "top", at)
terminal.until("services", has("database"))
os.kill(terminal.process, signal.SIGTERM)
assert terminal.end() == 0
ok("cproxy top shows services, remotes and sessions, sorts, and leaves the terminal as it was")

# --- Prometheus

text = get(base + "metrics")[1]
check = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True, timeout=PATIENCE)
assert (check.returncode, check.stdout, check.stderr) == (0, "", ""), check
ok("promtool has nothing to say of the metrics")

with open(f"{WORK}/prometheus.yml", "w") as file:
    file.write(f"scrape_configs: [{{job_name: cproxy, scrape_interval: 1s, static_configs: [{{targets: ['{at}']}}]}}]\n")
port = free_port()
prometheus = subprocess.Popen(
    ["prometheus", f"--config.file={WORK}/prometheus.yml", f"--storage.tsdb.path={WORK}/prometheus",
     f"--web.listen-address=127.0.0.1:{port}"], stderr=open(f"{WORK}/prometheus.log", "w"))


def asked(expression):
    """What Prometheus answers: values by their labels."""
    query = urllib.parse.urlencode({"query": expression})
    status, text = get(f"http://127.0.0.1:{port}/api/v1/query?{query}")
    if status != 200:
        # It answers before it is ready.
        raise ValueError(text)
    return [(one["metric"], float(one["value"][1])) for one in json.loads(text)["data"]["result"]]


try:
    retry("Prometheus knows the sessions", lambda: [16.0] == [value for _, value in asked("sum(cproxy_service_sessions)")])
    until = time.monotonic() + SECONDS
    scrapes = lambda: sum(value for _, value in asked("count_over_time(up[1h])"))
    retry("it has looked as often as it should", lambda: time.monotonic() > until and scrapes() >= SECONDS / 2)
    assert [value for _, value in asked("min_over_time(up[1h])")] == [1.0]
    retry("it knows a rate", lambda: any(value > 0 for _, value in asked("sum(rate(cproxy_service_transferred_bytes_total[1m]))")))
    metrics = {labels["__name__"] for labels, _ in asked('{__name__=~"cproxy_.+"}')}
    assert len(metrics) > 10, metrics
finally:
    prometheus.terminate()
    prometheus.wait(PATIENCE)
ok(f"Prometheus scrapes it, and knows {len(metrics)} metrics")

# --- The end

browser.load(base)
browser.until("document.documentElement.dataset.live === '1'")
assert get(base + "healthz")[0] == 200
terminal = Terminal(PROGRAM, "top", at)
terminal.until("it serves", has("serving"))
proxy.stop()
terminal.until("it drains", has("draining"))
retry("it drains", lambda: get(base + "healthz")[0] == 503)
browser.until("/draining/.test(document.body.innerText)", "the page says that it drains")
traffic.end()
proxy.ended()
browser.until("document.documentElement.dataset.live === '0'", "the page says that nobody answers")
assert browser.value("!document.getElementById('lost').hidden")
browser.end()
terminal.until("nobody answers", has("Connection refused"))
terminal.press(b"q")
assert terminal.end() == 0
ok("the page and cproxy top say that the proxy drains, and that it is gone")
