"""Screenshots for the documentation, of a proxy that many clients have used for five minutes."""

import math
import os
import random
import threading
import time

import png
from proxy import Client

# The charts are of this time, in seconds.
HISTORY = 310

# The largest that a picture may be, in bytes.
MOST = 150_000

# Clients that are still there at the end.
STAYS = []

SHOTS = [("light", "light", (1240, 900)), ("dark", "dark", (1240, 900)), ("phone", "light", (390, 844))]


def visit(address, source, end, scale):
    """A client that comes, asks for this and that, goes, and comes again."""
    chance = random.Random(source)
    while time.monotonic() < end:
        client = Client(address, source)
        leaves = time.monotonic() + chance.expovariate(1 / 30)
        while time.monotonic() < min(end, leaves):
            busy = 1.2 + math.sin(time.monotonic() / 25)
            client.get(1 + int(chance.expovariate(1 / (scale * busy))))
            time.sleep(chance.uniform(0.05, 0.5))
        if time.monotonic() > end:
            # The last ones stay for the pictures.
            STAYS.append(client)
            return
        client.end()
        time.sleep(chance.uniform(0, 10))


def write(browser, base, services, directory):
    """Writes them; `services` are the addresses of listeners, and how many bytes are asked for there."""
    os.makedirs(directory, exist_ok=True)
    browser.size(*SHOTS[0][2])
    browser.load(base)
    end = time.monotonic() + HISTORY
    for number, (address, scale) in enumerate(services):
        for client in range(1, 13 - 4 * number):
            source = f"127.0.{20 + number}.{client}"
            threading.Thread(target=visit, args=(address, source, end, scale), daemon=True).start()
    time.sleep(HISTORY)
    taken = {}
    for name, scheme, size in SHOTS:
        browser.colours(scheme)
        browser.size(*size, is_phone=name == "phone")
        taken[name] = browser.picture()
    for name, picture in taken.items():
        small = png.shrink(picture)
        assert len(small) < MOST, (name, len(small))
        with open(f"{directory}/status-{name}.png", "wb") as file:
            file.write(small)
    for client in STAYS:
        client.end()
