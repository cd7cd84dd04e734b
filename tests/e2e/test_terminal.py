"""What inspect, du and top print on a terminal, and what they print elsewhere."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
from pathlib import Path

from console_stores import make_line
from memory_files import LaminaTest, main, program
from serving import wait_until

HALF = "\N{UPPER HALF BLOCK}"
COLOR = "\x1b[38;5;"


class Terminal(LaminaTest):
    """A pseudo terminal of 40 columns and 12 rows."""

    def setUp(self) -> None:
        """A store of three."""
        super().setUp()
        self.snapshot = make_line(self, 3)[-1]

    def start(self, *arguments: str | Path, **variables: str) -> tuple[subprocess.Popen[bytes], int]:
        """The program on a terminal of its own, and the other end of that."""
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 40, 0, 0))
        environment = {name: value for name, value in os.environ.items()
                       if name not in ("NO_COLOR", "TERM", "LC_ALL", "LC_CTYPE", "LANG")}
        process = subprocess.Popen([program(), *map(str, arguments)], stdin=subprocess.DEVNULL,
                                   stdout=theirs, stderr=theirs, env={**environment, **variables})
        os.close(theirs)
        return process, ours

    def shown(self, *arguments: str | Path, **variables: str) -> str:
        """What the program prints on a terminal."""
        process, terminal = self.start(*arguments, **variables)
        text = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while piece := os.read(terminal, 65536):
                text += piece
        self.assertEqual(process.wait(), 0, text)
        return text.decode()

    def test_the_map_has_half_blocks_and_colours_where_they_can_be_shown(self) -> None:
        """UTF-8 and colours; colours; neither."""
        drawn = self.shown("inspect", self.snapshot, TERM="xterm", LANG="C.UTF-8")
        self.assertIn(COLOR, drawn)
        self.assertIn(HALF, drawn)
        self.assertIn("one half character is 4 KiB", drawn)
        colored = self.shown("inspect", self.snapshot, TERM="xterm", LANG="C")
        self.assertNotIn(HALF, colored)
        self.assertIn("\x1b[3", colored)
        plain = self.done("inspect", self.snapshot).stdout
        for variables in ({"TERM": "xterm", "LANG": "C.UTF-8", "NO_COLOR": "1"},
                          {"TERM": "dumb", "LANG": "C.UTF-8"}, {"LANG": "C.UTF-8"}):
            text = self.shown("inspect", self.snapshot, **variables)
            self.assertEqual(text.replace("\r\n", "\n"), plain, variables)
        self.assertNotIn("\x1b", plain)

    def test_du_draws_bars_on_a_terminal_only(self) -> None:
        """Own and shared bytes as bars; the columns before stay."""
        plain = self.done("du", self.store).stdout
        self.assertNotIn("AND SHARED", plain)
        for variables, own in (({"LANG": "C.UTF-8"}, "[█▏▎▍▌▋▊▉]+░+"), ({"LANG": "C"}, "#+[.]+")):
            drawn = self.shown("du", self.store, TERM="xterm", **variables)
            self.assertIn("OWN, AND SHARED", drawn)
            self.assertRegex(drawn, rf"web-3 .* {own}\r\n")
            for line in plain.splitlines()[1:]:
                self.assertIn(line, drawn)

    def test_top_repeats_what_fits_until_it_is_interrupted(self) -> None:
        """Every frame begins at the top, and no line is longer than the terminal."""
        process, terminal = self.start("top", "--store", self.store, "--interval", "1", TERM="xterm",
                                       LANG="C.UTF-8")
        text = ""

        def has_two_frames() -> bool:
            nonlocal text
            text += os.read(terminal, 65536).decode(errors="replace")
            return text.count("\x1b[H") >= 2
        wait_until(has_two_frames, "a second frame")
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(), -signal.SIGINT)
        first = text.split("\x1b[H")[1]
        lines = [re.sub(r"\x1b\[[KJ]", "", line) for line in first.split("\r\n")]
        self.assertLess(len(lines), 12)
        self.assertTrue(all(len(line) <= 40 for line in lines), lines)
        self.assertTrue(lines[0].startswith("store    "), lines)
        self.assertTrue(any(line.startswith("web-3 ") for line in lines), lines)


if __name__ == "__main__":
    main()
