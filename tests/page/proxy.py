"""A proxy with a status page, servers behind it, and clients."""

import atexit
import re
import signal
import socket
import subprocess
import threading
import time

PATIENCE = 60


class Server:
    """Sends to each client as many bytes as it asks for, in lines with a number."""

    def __init__(self, address):
        self.socket = socket.create_server((address, 0))
        self.name = "%s:%d" % self.socket.getsockname()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client = self.socket.accept()[0]
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    @staticmethod
    def serve(client):
        try:
            with client, client.makefile("rb") as lines:
                for line in lines:
                    client.sendall(b"x" * int(line))
        except OSError:
            pass  # The client has ended.


class Client:
    """A client of the proxy, from an address of its own."""

    def __init__(self, address, source="127.0.0.1"):
        self.socket = socket.create_connection(address, timeout=PATIENCE, source_address=(source, 0))
        self.name = "%s:%d" % self.socket.getsockname()

    def get(self, count):
        """Asks for so many bytes and reads them."""
        self.socket.sendall(b"%d\n" % count)
        while count > 0:
            part = self.socket.recv(min(count, 1 << 16))
            assert part, "the proxy has closed"
            count -= len(part)

    def end(self):
        self.socket.close()


class Traffic:
    """Clients that go on asking until they are told to end."""

    def __init__(self):
        self.clients, self.threads, self.is_over = [], [], threading.Event()

    def add(self, client, count, pause):
        def ask():
            while not self.is_over.wait(pause):
                client.get(count)
        self.clients.append(client)
        self.threads.append(threading.Thread(target=ask, daemon=True))
        self.threads[-1].start()

    def end(self):
        self.is_over.set()
        for thread in self.threads:
            thread.join()
        for client in self.clients:
            client.end()


class Proxy:
    """A proxy that runs."""

    def __init__(self, program, directory, text, arguments=()):
        path = f"{directory}/cproxy.toml"
        with open(path, "w") as file:
            file.write(text)
        self.log = f"{directory}/cproxy.log"
        self.process = subprocess.Popen([program, "--config", path, *arguments], stdout=open(self.log, "w"))
        atexit.register(self.process.kill)

    def line(self, pattern):
        """Waits for a line of the log and returns what the pattern found in it."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with open(self.log) as file:
                found = re.search(pattern, file.read())
            if found:
                return found
            assert self.process.poll() is None, "the proxy has ended"
            time.sleep(0.05)
        raise AssertionError(f"the log never had {pattern}")

    def stop(self):
        """Asks it to end."""
        self.process.send_signal(signal.SIGTERM)

    def ended(self):
        """Waits for its end."""
        assert self.process.wait(PATIENCE) == 0, self.process.returncode
