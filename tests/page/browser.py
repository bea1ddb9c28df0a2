"""A browser without a window, driven through pipes by the DevTools protocol."""

import atexit
import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time

# Long, as the machine may have much else to do.
PATIENCE = 60


class Browser:
    """One browser with one page."""

    def __init__(self, directory):
        program = shutil.which("chromium-headless-shell") or shutil.which("chromium")
        if not program:
            raise SystemExit("neither chromium-headless-shell nor chromium is here")
        ours, theirs = os.pipe(), os.pipe()
        # It reads commands at descriptor 3 and writes answers to 4. What is in the way there is ours to move.
        moved = [os.dup(theirs[0]), os.dup(ours[1])]
        high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 10) for descriptor in moved]

        def descriptors():
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        # Only pages of ours are shown, and neither root nor a container has what its sandbox takes.
        arguments = ["--headless", "--no-sandbox", "--disable-dev-shm-usage", "--remote-debugging-pipe", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
                     f"--user-data-dir={directory}/browser", "about:blank"]
        self.process = subprocess.Popen([program, *arguments], preexec_fn=descriptors, close_fds=False,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=open(f"{directory}/browser.log", "w"))
        atexit.register(self.process.kill)
        self.input, self.output = theirs[1], ours[0]
        for descriptor in [theirs[0], ours[1], *moved, *high]:
            os.close(descriptor)
        self.buffer, self.number, self.session = b"", 0, None
        self.events = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Network", "Log"]:
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        """Does something and returns what comes of it."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        text = json.dumps(message).encode() + b"\0"
        while text:
            text = text[os.write(self.input, text):]
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self.read(deadline, method)
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def read(self, deadline, what):
        """The next message."""
        while b"\0" not in self.buffer:
            if not select.select([self.output], [], [], max(0, deadline - time.monotonic()))[0]:
                raise AssertionError(f"the browser does not answer: {what}")
            part = os.read(self.output, 1 << 20)
            if not part:
                raise AssertionError(f"the browser has ended: {what}")
            self.buffer += part
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def value(self, expression):
        """The value of an expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise AssertionError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def until(self, expression, what=None):
        """Waits until an expression is true, and returns its value."""
        deadline = time.monotonic() + PATIENCE
        while True:
            why = None
            try:
                value = self.value(expression)
            except AssertionError as error:
                # While a page is being loaded, little of it is there.
                value, why = None, error
            if value:
                return value
            if time.monotonic() > deadline:
                raise AssertionError(f"never: {what or expression} ({why})\n{self.value('document.body.innerText')}")
            time.sleep(0.05)

    def load(self, address):
        """Loads a page and waits until it is there."""
        result = self.call("Page.navigate", url=address)
        if "errorText" in result:
            raise AssertionError(f"{address}: {result['errorText']}")
        self.until(f"document.readyState === 'complete' && location.href.startsWith({json.dumps(address)})")

    def click(self, selector):
        """Clicks at the middle of an element."""
        place = self.until(
            "(() => { const e = document.querySelector(%s); if (!e) return null; e.scrollIntoView({block: 'center'});"
            "const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
            % json.dumps(selector), f"there is {selector}")
        for kind in ["mousePressed", "mouseReleased"]:
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def size(self, width, height, is_phone=False):
        """Gives the page this size."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=is_phone)

    def colours(self, scheme):
        """`light` or `dark`."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def picture(self):
        """What is to be seen, as a PNG."""
        self.value("scrollTo(0, 0)")
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def complaints(self):
        """What the page did that it should not: errors, and requests that failed or went elsewhere."""
        found = []
        for event in self.events:
            parameters = event.get("params", {})
            match event.get("method"):
                case "Runtime.exceptionThrown":
                    found.append(str(parameters["exceptionDetails"]))
                case "Log.entryAdded" if parameters["entry"]["level"] in ("error", "warning"):
                    found.append(str(parameters["entry"]))
                case "Network.responseReceived" if parameters["response"]["status"] >= 400:
                    found.append(str(parameters["response"]["url"]))
        return found

    def addresses(self):
        """All that was asked for."""
        return [event["params"]["request"]["url"] for event in self.events
                if event.get("method") == "Network.requestWillBeSent"]

    def end(self):
        """Ends the browser."""
        self.session = None
        self.call("Browser.close")
        self.process.wait(PATIENCE)
