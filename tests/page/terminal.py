"""A terminal that a program runs in: what is to be seen in it, and the keys."""

import fcntl
import os
import pty
import re
import select
import struct
import termios
import time

PATIENCE = 60


class Terminal:
    """A terminal of 80 columns and 24 lines that understands what `cproxy top` writes."""

    def __init__(self, *arguments):
        self.process, self.descriptor = pty.fork()
        if self.process == 0:
            os.environ.update(TERM="xterm-256color", LC_ALL="C.UTF-8")
            # The size is set before the program can ask for it.
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
            os.execv(arguments[0], arguments)
        self.lines = [""] * 24
        self.rest = ""
        self.all = ""

    def read(self, seconds):
        """Reads what comes within a time; whether there is more to come."""
        if not select.select([self.descriptor], [], [], seconds)[0]:
            return True
        try:
            part = os.read(self.descriptor, 1 << 16)
        except OSError:  # EIO: the program has ended.
            part = b""
        self.all += part.decode(errors="replace")
        self.rest += part.decode(errors="replace")
        # Frames end here; each has all lines.
        *frames, self.rest = self.rest.split("\x1b[?2026l")
        if frames:
            for number, text in re.findall(r"\x1b\[(\d+);1H(.*?)\x1b\[K", frames[-1], re.DOTALL):
                self.lines[int(number) - 1] = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).rstrip()
        return part != b""

    def until(self, what, is_there):
        """Waits until what is to be seen, line by line, is as it should be."""
        deadline = time.monotonic() + PATIENCE
        while not is_there(self.lines):
            assert time.monotonic() < deadline, f"never: {what}\n" + "\n".join(self.lines)
            assert self.read(0.1), f"the program has ended: {what}\n{self.all[-500:]}"

    def press(self, keys):
        os.write(self.descriptor, keys)

    def end(self):
        """Waits for the end of the program, which leaves the terminal as it was; returns its status."""
        while self.read(PATIENCE):
            pass
        assert self.all.count("\x1b[?1049h") == self.all.count("\x1b[?1049l"), "it left the terminal as it was"
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
