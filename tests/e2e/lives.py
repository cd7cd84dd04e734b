"""Sandboxes whose commands are killed or refused a call, and what must hold of them afterwards."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from faults import (CHANGING_CALLS, SOCKET_CALLS, Point, changes_the_disk, points_of,
                    reads_the_store, require_strace)
from firecracker import Firecracker
from memory_files import EXIT_DONE, EXIT_NOT_FOUND, MEMORY_FS, Outcome, lamina
from sandbox import SandboxTest, page_servers_of

WORKERS = 3  # a round waits for processes much of its time
MEMORY_MIB = 8
OTHER_USER = 65534
CALLS = (*CHANGING_CALLS, *SOCKET_CALLS)
# What fails for want of space.
GROWING_CALLS = ("openat", "openat2", "pwrite64", "write", "ftruncate", "mkdirat", "linkat",
                 "fallocate")
KILL = "signal=SIGKILL"

SEED = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 32)))
TAKES_ALL = os.environ.get("TORTURE") == "all"


@dataclass(frozen=True)
class Fault:
    """What happens at one point."""

    point: Point
    effect: str

    def __str__(self) -> str:
        return f"{self.effect} at {self.point}"


class Life:
    """One sandbox, in a store of its own, that many faults are tried on."""

    def __init__(self, test: SandboxTest, directory: Path, seed: int) -> None:
        self.test = test
        self.directory = directory
        self.directory.mkdir()
        self.store = directory / "store"
        self.store.mkdir()
        self.disk = directory / "disk.img"
        self.disk.write_bytes(b"disk" * 1000)
        self.rng = random.Random(seed)
        self.vm: Firecracker | None = None
        self.before: str | None = None  # pause id under the name
        self.names = itertools.count()
        self.name = "a"
        self.jails: Path | None = None  # where each VM gets its root; none: not jailed
        self.memory: Path | None = None  # where checkpoints write their diffs; none: to the disk

    def end(self) -> None:
        """Ends the VM."""
        if self.vm is not None:
            self.vm.end()
        self.vm = None

    def done(self, *words: str | Path) -> Outcome:
        """Runs the program, which must succeed."""
        outcome = lamina(*words)
        assert outcome.code == EXIT_DONE, str(outcome)
        return outcome

    def new_vm(self, *options: str | int) -> Firecracker:
        """A Firecracker; in a jail of another user, if there are jails."""
        if self.jails is None:
            return Firecracker(*options)
        jail = self.jails / f"{next(self.names)}"
        jail.mkdir()
        os.chown(jail, OTHER_USER, OTHER_USER)
        return Firecracker(*options, jail=jail, user=OTHER_USER)

    def jail_words(self) -> list[str | Path]:
        """Where the VM's root is."""
        assert self.vm is not None
        return [] if self.vm.jail is None else ["--jail", self.vm.jail]

    def left_in_jails(self) -> list[Path]:
        """What lamina has made in the jails of VMs that have ended, or more than one thing in
        the one that runs."""
        if self.jails is None:
            return []
        made = list(self.jails.glob("*/lamina-*"))
        in_use = [path for path in made if is_alive(self) and path.parent == self.vm.jail]
        return [path for path in made if path not in in_use[:1]]

    def pause_words(self, *options: str | Path) -> list[str | Path]:
        """The command that pauses the VM."""
        assert self.vm is not None
        return ["pause", "--api", self.vm.api_socket, "--store", self.store, "--name", self.name,
                "--json", *self.jail_words(), *self.memory_words(), *options]

    def memory_words(self) -> list[str | Path]:
        """Where diffs are written."""
        if self.memory is None:
            return ["--freeze-memory", "0"]
        return ["--freeze-directory", self.memory]

    def left_in_memory(self) -> list[Path]:
        """The directories of pauses in memory. One that is reserved, and named by no journal yet,
        is removed by the next pause that reserves one."""
        if self.memory is None:
            return []
        return [path for path in self.memory.glob("lamina-*")
                if not set(os.listdir(path)) <= {".reserved"}]

    def lose_power(self) -> None:
        """The VM ends, and what is in memory. What was written to the disk stays: which of that a
        power failure can lose is tried out by tests/torture."""
        assert self.vm is not None
        self.vm.kill()
        self.vm.wait()
        for path in self.left_in_memory():
            shutil.rmtree(path)

    def resume_words(self, *options: str | Path) -> list[str | Path]:
        """The command that resumes into the VM's Firecracker."""
        assert self.vm is not None
        return ["resume", "--api", self.vm.api_socket, "--store", self.store, "--name", self.name,
                "--json", *self.jail_words(), *options]

    def pause_id(self) -> str | None:
        """What the name holds."""
        facts = self.store / self.name / "snapshot.json"
        return json.loads(facts.read_text())["pause_id"] if facts.exists() else None

    def start(self) -> None:
        """A VM that no store knows, and an unused name."""
        self.end()
        self.vm = self.new_vm("--start", "--memory-mib", MEMORY_MIB)
        self.run()
        self.name = f"n{next(self.names)}"

    def run(self) -> None:
        """The guest does something."""
        assert self.vm is not None
        self.vm.tell(f"run 60 {self.rng.randrange(1 << 30)}")

    def renew(self) -> None:
        """The VM runs, has a short chain, and its guest has changed something since its pause."""
        if self.vm is None or not self.vm.is_running():
            self.start()
        self.done(*self.pause_words("--full", "--replace", "--after", "resume"))
        self.run()
        self.before = self.pause_id()

    def resume(self, mode: str) -> None:
        """The VM goes on in another Firecracker."""
        self.end()
        self.vm = self.new_vm()
        self.done(*self.resume_words("--mode", mode))

    def check(self) -> None:
        """Every byte of the guest is what it must be."""
        assert self.vm is not None
        answer = self.vm.control("check")
        assert answer.startswith("ok "), answer


@dataclass(frozen=True)
class Scenario:
    """One command that is tried."""

    prepare: Callable[[Life], None]
    command: Callable[[Life], list[str | Path]]
    check: Callable[[Life, Outcome], None]
    every: int = 1  # of the points that a sample takes
    modes: tuple[str, ...] = ("file", "uffd")  # of the resumes
    reads: bool = False  # calls that read the store fail, instead of those that change it
    kills_only: bool = False  # no call fails: what cannot be removed stays, and rightly so
    in_memory: bool = False  # checkpoints write their diffs to memory
    loses_power: bool = False  # after the command


def is_alive(life: Life) -> bool:
    """Whether the VM's process has not ended."""
    return life.vm is not None and life.vm.is_running()


def check_pause(after: str, was_running: bool = True, lacks_files: bool = False) \
        -> Callable[[Life, Outcome], None]:
    """The check of a pause that was to end as `after` says."""
    def check(life: Life, outcome: Outcome) -> None:
        now = life.pause_id()
        is_new = now != life.before
        assert now is not None or life.before is None, "the name is gone"
        if outcome.code == EXIT_DONE:
            assert now == outcome.json["pause_id"], f"reports success: {outcome}"
        others = [name for name in os.listdir(life.store) if "@" in name]
        assert lacks_files or not others, others
        if not is_alive(life):
            assert is_new and after == "stop", "the VM is gone"
            return
        acknowledged = is_new or others
        expected = "Running" if was_running else "Paused"
        if acknowledged:
            # Recover stops no VM: it cannot tell whether one was paused again by hand.
            expected = "Running" if after == "resume" else "Paused"
        assert life.vm.state() == expected, f"is {life.vm.state()}, must be {expected}"
    return check


def check_resume(life: Life, outcome: Outcome) -> None:
    """The check of a resume: Firecracker has the VM, or has none, or has ended."""
    assert life.pause_id() == life.before
    if outcome.code == EXIT_DONE:
        assert is_alive(life) and life.vm.state() == "Running", str(outcome)
    if not is_alive(life):
        life.vm = None
        assert not [name for name in os.listdir(life.store / ".vms") if name[0].isdigit()]
        return
    if life.vm.state() == "Not started":
        life.done(*life.resume_words("--mode", "file"))
    elif life.vm.state() == "Paused":
        life.vm.resume()
    life.check()
    life.run()


def cut_short(life: Life, number: int, *options: str | Path) -> None:
    """A pause that is killed before its `number`th answer of Firecracker is read."""
    outcome = lamina(*life.pause_words(*options),
                     prefix=Point("recvfrom", number, False, False).strace(KILL))
    assert outcome.code == -signal.SIGKILL, str(outcome)


# GET /, GET /machine-config, GET /hotplug/memory, pause, create, resume.
ANSWER_OF_CREATE = 5
ANSWER_OF_RESUME = 6


def leave_acknowledged(life: Life) -> None:
    """A checkpoint that is acknowledged, and whose process is killed then."""
    life.renew()
    cut_short(life, ANSWER_OF_RESUME, "--after", "resume")


def leave_acknowledged_of_ended_vm(life: Life) -> None:
    """The same, and the VM has ended since."""
    leave_acknowledged(life)
    life.vm.kill()
    life.vm.wait()


class CrashTest(SandboxTest):
    """One command, at every step."""

    on_tmpfs = True

    def setUp(self) -> None:
        super().setUp()
        require_strace(self)
        self.memory = Path(tempfile.mkdtemp(prefix="lamina-", dir=MEMORY_FS)) \
            if os.access(MEMORY_FS, os.W_OK) else None
        if self.memory is not None:
            self.addCleanup(shutil.rmtree, self.memory)
        self.lives: list[Life] = []
        self.addCleanup(self.end_lives)

    def end_lives(self) -> None:
        """Ends VMs and page servers."""
        for life in self.lives:
            life.end()
            self.store = life.store
            self.stop_page_servers()

    def new_life(self, seed: int, in_memory: bool = False) -> Life:
        """A store with a VM to come."""
        life = Life(self, self.directory / f"life-{len(self.lives)}", seed)
        if in_memory and self.memory is not None:
            life.memory = self.memory / f"life-{len(self.lives)}"
            life.memory.mkdir(mode=0o700)
        self.lives.append(life)
        return life

    def torture(self, scenario: Scenario) -> None:
        """Tries all faults, several lives at once."""
        print(f"SEED={SEED}", end=" ", flush=True)
        if scenario.in_memory and self.memory is None:
            self.skipTest(f"{MEMORY_FS} cannot be written")
        probe = self.new_life(SEED, scenario.in_memory)
        scenario.prepare(probe)
        points = self.points(probe, scenario)
        self.assertGreater(len(points), 5)
        recovering = self.points_of_recover(probe)
        if scenario.in_memory:
            probe.renew()
            paused = probe.done(*probe.pause_words("--after", "resume")).json
            self.assertEqual(paused["place"], "memory", str(paused))
        faults = self.faults_of(points, scenario)
        print(f"{len(points)} points, {len(faults)} rounds", flush=True)
        lives = [probe, *(self.new_life(SEED + number, scenario.in_memory)
                          for number in range(1, WORKERS))]
        with ThreadPoolExecutor(WORKERS) as pool:
            failures = list(pool.map(
                lambda number: self.live(lives[number], scenario, faults[number::WORKERS],
                                         recovering), range(WORKERS)))
        found = [failure for some in failures for failure in some]
        self.assertEqual(len(found), 0, "\n\n" + "\n\n".join(found))

    def points(self, life: Life, scenario: Scenario) -> list[Point]:
        """Where the command can be hit. Carries it out."""
        return points_of(scenario.command(life), life.directory, CALLS, follows=False,
                         counts=reads_the_store if scenario.reads else changes_the_disk)

    def points_of_recover(self, life: Life) -> list[Point]:
        """Where a recover that completes an acknowledged pause can be killed."""
        leave_acknowledged(life)
        return points_of(["recover", life.store], life.directory, CALLS, follows=False)

    def faults_of(self, points: list[Point], scenario: Scenario) -> list[Fault]:
        """All faults, or a sample."""
        rng = random.Random(SEED)
        every = 1 if TAKES_ALL else scenario.every
        offset = rng.randrange(every)
        if scenario.reads:
            there = [point for point in points if not point.failed]
            return [Fault(point, "error=EIO") for point in there[offset::every]]
        faults = []
        for number, point in enumerate(points):
            if number % every == offset:
                faults.append(Fault(point, KILL))
            if point.failed or scenario.kills_only or \
                    not (TAKES_ALL or rng.random() < 0.4 / every):
                continue
            faults.append(Fault(point, "error=EIO"))
            if point.call in GROWING_CALLS and (TAKES_ALL or rng.random() < 0.3):
                faults.append(Fault(point, "error=ENOSPC"))
        return faults

    def live(self, life: Life, scenario: Scenario, faults: list[Fault],
             recovering: list[Point]) -> list[str]:
        """Rounds of one sandbox. Returns what was wrong."""
        found = []
        for number, fault in enumerate(faults):
            trail: list[str] = []
            try:
                self.round(life, scenario, fault, recovering,
                           scenario.modes[number % len(scenario.modes)], trail)
            except Exception as error:  # pylint: disable=broad-except  # all are reported
                found.append(f"{fault}: {type(error).__name__}: {error}\n" + "\n".join(trail))
                life.end()  # what is broken is not to break the next round
                for area in (".pending", ".vms"):
                    shutil.rmtree(life.store / area, ignore_errors=True)
                for path in life.left_in_memory():
                    shutil.rmtree(path, ignore_errors=True)
        return found

    def round(self, life: Life, scenario: Scenario, fault: Fault, recovering: list[Point],
              mode: str, trail: list[str]) -> None:
        """One fault, and all that must hold afterwards."""
        scenario.prepare(life)
        outcome = self.attempt(life, scenario, fault)
        trail.append(str(outcome))
        if scenario.loses_power:
            life.lose_power()
        if life.rng.random() < 0.5:
            point = life.rng.choice(recovering)
            trail.append(f"recover is killed at {point}")
            trail.append(str(lamina("recover", life.store, prefix=point.strace(KILL))))
        self.put_right(life, outcome, trail)
        scenario.check(life, outcome)
        self.check_guest(life, mode, trail)

    def attempt(self, life: Life, scenario: Scenario, fault: Fault) -> Outcome:
        """The command, with the fault."""
        outcome = lamina(*scenario.command(life), prefix=fault.point.strace(fault.effect))
        if fault.effect == KILL:
            # What a chain's length or an answer's time changes may leave the last point unreached.
            assert outcome.code in (EXIT_DONE, -signal.SIGKILL), \
                f"is neither killed nor done: {outcome}"
        elif outcome.code != EXIT_DONE:
            lines = [line for line in outcome.error_lines if line.startswith("lamina: ")]
            assert lines, f"fails without a word: {outcome}"
        return outcome

    def put_right(self, life: Life, outcome: Outcome, trail: list[str]) -> None:
        """Recovers; then the store is right."""
        recovered = lamina("recover", life.store, "--json")
        trail.append(str(recovered))
        if recovered.code == EXIT_NOT_FOUND:  # killed before the directory was a store
            assert not (life.store / ".pending").exists()
            assert not outcome.stdout or outcome.code != EXIT_DONE
        else:
            assert recovered.code == EXIT_DONE, "recover fails"
            self.check_store(life)

    def check_store(self, life: Life) -> None:
        """Every snapshot is whole, and nothing is left."""
        for area in (".pending", ".tmp"):
            left = os.listdir(life.store / area)
            assert not left, f"left in {area}: {left}"
        assert not life.left_in_jails(), f"left: {life.left_in_jails()}"
        assert not life.left_in_memory(), f"left: {life.left_in_memory()}"
        for name in os.listdir(life.store):
            if not name.startswith("."):
                life.done("verify", life.store / name)

    def check_guest(self, life: Life, mode: str, trail: list[str]) -> None:
        """The VM is paused and goes on elsewhere, with every byte."""
        if is_alive(life):
            paused = life.done(*life.pause_words("--after", "stop", "--replace"))
            trail.append(str(paused))
            life.vm.wait()
        life.resume(mode)
        life.check()
        for name in os.listdir(life.store):
            if "@" in name:
                life.done("rm", life.store / name)
        pins = [name for name in os.listdir(life.store / ".vms") if name[0].isdigit()]
        if len(pins) > 1:  # of a Firecracker that a failed load has ended
            life.done("recover", life.store)

    def prepare_resume(self, life: Life) -> None:
        """A snapshot, a page server, and a Firecracker that waits."""
        life.renew()
        life.done(*life.pause_words("--after", "stop"))
        life.before = life.pause_id()
        if not page_servers_of(life.store):
            life.resume("uffd")
        life.end()
        life.vm = life.new_vm()
