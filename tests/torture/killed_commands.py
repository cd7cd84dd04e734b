"""lamina's commands, killed at random moments, and what puts right what they have left."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

EXIT_DONE = 0
EXIT_NOT_FOUND = 3
KILLED = -9
TIMEOUT_S = 120.0
KILLED_SHARE = 0.5
RECOVERS_KILLED_SHARE = 0.3
# After so many kills a command is let be.
MOST_KILLS_IN_A_ROW = 4
FIRST_GUESS_S = 0.05


class CommandError(Exception):
    """A command failed that was not killed; says which, and what it printed."""


class KilledCommands:
    """Runs commands on a store. Not thread-safe."""

    def __init__(self, lamina: Path, store: Path, rng: random.Random) -> None:
        self._lamina = lamina
        self._store = store
        self._rng = rng
        self._durations_s: dict[str, float] = {}
        self.runs = 0
        self.kills = 0

    def do(self, *words: object, is_done: Callable[[], bool]) -> None:
        """Has the command done, in spite of kills: after each one the store is recovered, and the
        command is given again unless `is_done`.
        """
        for attempt in range(MOST_KILLS_IN_A_ROW + 1):
            may_be_killed = attempt < MOST_KILLS_IN_A_ROW and self._rng.random() < KILLED_SHARE
            if not self._is_killed(may_be_killed, *words):
                return
            self._recover()
            if is_done():
                return
        raise CommandError("unreachable: the last attempt is not killed")

    def report(self, *words: object) -> dict[str, Any]:
        """Runs a command that must succeed, without a kill; what it says as JSON."""
        done = subprocess.run([self._lamina, *map(str, words), "--json"], capture_output=True,
                              text=True, check=False, timeout=TIMEOUT_S,
                              stdin=subprocess.DEVNULL)
        if done.returncode != EXIT_DONE:
            raise CommandError(f"'{_text(words)}' exited with {done.returncode}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def _recover(self) -> None:
        # What was killed before it had made anything has left no store.
        while self._is_killed(self._rng.random() < RECOVERS_KILLED_SHARE, "recover", self._store,
                              allowed=(EXIT_DONE, EXIT_NOT_FOUND)):
            pass

    def _is_killed(self, may_be_killed: bool, *words: object,
                   allowed: tuple[int, ...] = (EXIT_DONE,)) -> bool:
        """Runs it; whether it was killed. One that was not must end with an allowed code."""
        self.runs += 1
        verb = str(words[0])
        began = time.monotonic()
        # Now and then too late, so that every moment of it is hit.
        moment_s = (self._durations_s.get(verb, FIRST_GUESS_S) * self._rng.uniform(0, 1.1)
                    if may_be_killed else None)
        code, said = run_until(moment_s, self._lamina, *words)
        if may_be_killed and code == KILLED:
            self.kills += 1
            return True
        if code not in allowed:
            raise CommandError(f"'{_text(words)}' exited with {code}: {said.strip()}")
        self._durations_s[verb] = time.monotonic() - began
        return False


def run_until(moment_s: float | None, *words: object) -> tuple[int, str]:
    """Runs a command, which is killed after `moment_s` seconds if it has not ended; its exit code
    (KILLED: by us) and what it said.
    """
    with subprocess.Popen([*map(str, words)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True) as process:
        if moment_s is not None:
            try:
                process.wait(moment_s)
            except subprocess.TimeoutExpired:
                process.kill()
        try:
            said = process.communicate(timeout=TIMEOUT_S)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            raise CommandError(f"'{_text(words)}' took over {TIMEOUT_S} s") from None
    return process.returncode, said


def _text(words: tuple[object, ...]) -> str:
    return " ".join(map(str, words))
