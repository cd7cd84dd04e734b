#!/usr/bin/env python3
"""resume --remote: a VM runs while its memory is fetched from a bucket.

Environment: LAMINA and FAKE_FIRECRACKER are the binaries. SEED repeats the moments of an earlier
run.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

sys.dont_write_bytecode = True  # the source folder stays clean

from bucket_server import CREDENTIALS, BucketServer, Mood
from firecracker import Firecracker
from memory_files import EXIT_FAILED, EXIT_NOT_FOUND, EXIT_USAGE, lamina, main
from sandbox import MEMORY_BYTES, SandboxTest, fetchers_of, servers_and_fetchers_of
from serving import end_processes, wait_until, waits_for_pages
from whole_snapshots import HEX_KEY

# Of the map of what is here: the boot in which it was written; a bit for each block of the guest,
# set for zeros too; a bit for each frame, set when all its blocks are here.
BOOT_OFFSET = 128
BLOCKS_OFFSET = 4096
BLOCKS = MEMORY_BYTES // 4096
# A guest that reads everything waits for all that happens to the host meanwhile.
LONG_S = 120.0


class RemoteResumeTest(SandboxTest):
    """A snapshot of two layers in a bucket, and a host that has nothing."""

    def setUp(self) -> None:
        super().setUp()
        self.bucket = BucketServer()
        self.addCleanup(self.bucket.close)
        for name, value in CREDENTIALS.items():
            os.environ[name] = value
        self.store.mkdir(exist_ok=True)
        vm = self.fresh()
        vm.tell("run 1500 1")
        self.pause(vm, "a", "--after", "resume")
        vm.tell("run 300 2")
        self.paused = self.pause(vm, "a", "--after", "resume")
        self.push()
        self.origin = self.store
        self.store = self.directory / "other"
        self.store.mkdir()
        self.addCleanup(self.stop_everything)

    def push(self, *options: str | Path) -> None:
        """Pushes from the first store."""
        self.done("remote", "push", self.bucket.url, self.store / "a", *options)

    def fetchers(self) -> list[int]:
        """The processes that fetch."""
        return fetchers_of(self.store)

    def kill_fetchers(self) -> None:
        """Kills them, for the moment."""
        for pid in self.fetchers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def stop_everything(self) -> None:
        """No process of the host is left."""
        end_processes(lambda: servers_and_fetchers_of(self.store),
                      "page servers and fetchers end")

    def resume_remote(self, *options: str | Path,
                      vm: Firecracker | None = None) -> tuple[Firecracker, dict]:
        """Resumes from the bucket."""
        return self.resume("a", "--remote", self.bucket.url, *options, vm=vm)

    def arrivals(self) -> list[Path]:
        """What is arriving."""
        return sorted((self.store / ".arriving").glob("*"))

    def wait_whole(self) -> None:
        """Waits until the snapshot has its name."""
        wait_until(lambda: (self.store / "a").exists() and not self.arrivals(),
                   "the snapshot is whole")

    def wait_logged(self, text: str) -> None:
        """Waits until the page server has said that."""
        log = self.store / ".vms" / "page-server.log"
        wait_until(lambda: text in log.read_text(), f"the log says '{text}'")

    def check_whole(self, may_leave_pin: bool = False) -> None:
        """The snapshot is an ordinary one, with the very layers that were pushed."""
        self.wait_whole()
        self.done("verify", self.store / "a")
        for layer in self.origin.joinpath("a").glob("memfile.*"):
            self.assertEqual(layer.read_bytes(), (self.store / "a" / layer.name).read_bytes())
        self.assertFalse((self.store / "a" / "arriving").exists())
        if not may_leave_pin:
            wait_until(lambda: self.bucket.keys("/v1/pins/") == [], "the pin is gone")

    @contextlib.contextmanager
    def checking(self, *vms: Firecracker):
        """Lets guests read and compare everything, meanwhile."""
        said: dict[int, str] = {}

        def check(vm: Firecracker) -> None:
            said[vm.pid] = vm.control("check", LONG_S)
        threads = [threading.Thread(target=check, args=(vm,)) for vm in vms]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            if sys.exc_info()[0] is not None:
                self.bucket.mood = Mood.GOOD
                for vm in vms:
                    vm.kill()
            for thread in threads:
                thread.join()
        for vm in vms:
            self.assertRegex(said[vm.pid], "^ok ")

    def damage_what_is_here(self) -> Path:
        """Zeros in place of all data that has arrived."""
        (arrival,) = self.arrivals()
        wait_until(lambda: any(self.data_of(layer) for layer in self.layers_of(arrival)),
                   "something has arrived")
        for layer in self.layers_of(arrival):
            with layer.open("r+b") as file:
                file.write(bytes(self.data_bytes_of(layer)))
        return arrival

    @staticmethod
    def blocks_here(arrival: Path) -> set[int]:
        """The blocks of the guest that count as here."""
        with (arrival / "here").open("rb") as file:
            file.seek(BLOCKS_OFFSET)
            bits = int.from_bytes(file.read(BLOCKS // 8), "little")
        return {block for block in range(BLOCKS) if bits >> block & 1}

    @staticmethod
    def has_frames(arrival: Path) -> bool:
        """Whether a whole frame is here."""
        return any((arrival / "here").read_bytes()[BLOCKS_OFFSET + BLOCKS // 8:])

    @staticmethod
    def layers_of(arrival: Path) -> list[Path]:
        """The files of the layers."""
        return [path for path in (arrival / "snapshot").glob("memfile.*")
                if path.name != "memfile.header"]

    @staticmethod
    def data_bytes_of(layer: Path) -> int:
        """The size of the data, before the trailer: at most so much."""
        return layer.stat().st_size // 4096 * 4096 * 9 // 10 // 4096 * 4096

    def data_of(self, layer: Path) -> bool:
        """Whether it has any."""
        return any(layer.read_bytes()[:self.data_bytes_of(layer)])


class Arriving(RemoteResumeTest):
    """While the memory is fetched."""

    def test_the_vm_runs_before_its_memory_is_here(self) -> None:
        self.bucket.mood = Mood.HOLDS
        vm, report = self.resume_remote()
        self.assertEqual((vm.state(), report["mode"]), ("Running", "uffd"))
        self.assertEqual(report["pause_id"], self.paused["pause_id"])
        self.assertEqual(self.bucket.layer_reads, 0)
        listing = self.done("ls", self.store, "--json").json
        self.assertEqual([one["name"] for one in listing["snapshots"]], [])
        self.assertIn("'a' is arriving", " ".join(listing["notes"]))
        self.assertEqual(lamina("verify", self.store / "a").code, EXIT_NOT_FOUND)
        with self.checking(vm):
            wait_until(lambda: waits_for_pages(vm.pid), "a thread waits")
            self.assertEqual(len(self.bucket.keys("/v1/pins/")), 1)
            self.bucket.mood = Mood.GOOD
        self.check_whole()
        self.assert_nothing_left()

    def test_a_fault_holds_up_no_other(self) -> None:
        self.bucket.mood = Mood.HOLDS
        first, _ = self.resume_remote()
        other, _ = self.resume_remote()
        self.assertEqual(len(self.arrivals()), 1)
        with self.checking(first):
            wait_until(lambda: waits_for_pages(first.pid), "a thread waits")
            # Pages that are zeros need nothing from the bucket.
            zeros = [page for page in range(512, 4096, 7)
                     if self.is_zero_in_origin(page)][:20]
            self.assertGreater(len(zeros), 5)
            for vm in (first, other):
                for page in zeros:
                    vm.tell(f"read {page}")
            self.bucket.mood = Mood.GOOD
        self.check(other)
        self.check_whole()

    def is_zero_in_origin(self, page: int) -> bool:
        """As the first store has it."""
        if not hasattr(self, "memory"):
            path = self.directory / "memory"
            self.done("materialize", self.origin / "a", "--out", path)
            self.memory = path.read_bytes()
        return not any(self.memory[page * 4096:(page + 1) * 4096])

    def test_an_encrypted_snapshot(self) -> None:
        key = self.directory / "key"
        key.write_text(HEX_KEY)
        key.chmod(0o600)
        self.store, other = self.origin, self.store
        self.done("remote", "push", self.bucket.url, self.store / "a", "--as", "secret",
                  "--key-file", key)
        self.store = other
        vm = self.waiting()
        self.done("resume", "--api", vm.api_socket, "--store", self.store, "--name", "secret",
                  "--remote", self.bucket.url, "--key-file", key)
        self.check(vm)
        wait_until(lambda: (self.store / "secret").exists(), "it is whole")
        self.done("verify", self.store / "secret")

    def test_a_file_is_made_when_everything_is_here(self) -> None:
        vm, report = self.resume_remote("--mode", "file")
        self.assertEqual(report["mode"], "file")
        self.check(vm)
        self.check_whole()

    def test_what_could_not_be_recorded_is_refused(self) -> None:
        """What fetches the rest reads it from a record, which is JSON."""
        key = self.directory / os.fsdecode(b"key-\xff")
        key.write_text("00" * 32 + "\n")
        self.refused(EXIT_USAGE, "resume", "--api", self.waiting().api_socket, "--store",
                     self.store, "--name", "a", "--remote", self.bucket.url, "--key-file", key,
                     names=("key file", "UTF-8"))
        self.assertEqual(self.arrivals(), [])

    def test_names_that_are_taken_meanwhile_are_left_alone(self) -> None:
        self.bucket.mood = Mood.HOLDS
        vm, _ = self.resume_remote()
        (arrival,) = self.arrivals()
        taken = ("a", f"a@{self.paused['pause_id']}")
        for name in taken:
            shutil.copytree(self.origin / "a", self.store / name)
        self.bucket.mood = Mood.GOOD
        self.check(vm)
        third = self.store / f"a@{arrival.name}"
        wait_until(lambda: third.exists() and not self.arrivals(), "the snapshot is whole")
        for path in (third, *(self.store / name for name in taken)):
            self.done("verify", path)

    def test_a_late_request_is_sent_again(self) -> None:
        self.bucket.mood = Mood.LATE
        vm, _ = self.resume_remote()
        # Nothing that is fetched ahead is sent again, so the arrival stays until the guest reads.
        (arrival,) = self.arrivals()
        wait_until((arrival / "fetch.log").exists, "a fetcher runs")
        log = (arrival / "fetch.log").open()
        self.addCleanup(log.close)
        with self.checking(vm):
            wait_until(lambda: self.bucket.mood == Mood.GOOD, "a range is asked for again")
        self.check_whole()
        said: list[str] = []

        def is_said() -> bool:
            said.append(log.read())
            return "answered by the second" in "".join(said)
        wait_until(is_said, "the fetcher says so")
        self.assertRegex("".join(said), r"late requests sent again: [1-9]")

    def test_pull_completes_what_arrives(self) -> None:
        self.bucket.hold_after(1)
        vm, _ = self.resume_remote()
        self.stop_everything()
        self.bucket.mood = Mood.GOOD
        self.done("remote", "pull", self.bucket.url, "a", "--store", self.store)
        self.check_whole()
        self.done("recover", self.store)
        self.check(vm)

    def test_a_pause_waits_until_its_base_is_whole(self) -> None:
        self.bucket.mood = Mood.HOLDS
        vm, _ = self.resume_remote()
        done: list[dict] = []
        pausing = threading.Thread(
            target=lambda: done.append(self.pause(vm, "a", "--after", "resume")))
        pausing.start()
        wait_until(self.fetchers, "a fetcher runs")
        self.assertEqual((done, vm.state()), ([], "Running"))
        self.bucket.mood = Mood.GOOD
        pausing.join()
        self.assertEqual((done[0]["kind"], done[0]["parent_pause_id"]),
                         ("diff", self.paused["pause_id"]))
        self.done("verify", self.store / "a")
        vm.tell("run 100 3")
        self.pause(vm, "a", "--after", "resume")
        again, _ = self.resume("a")
        self.check(again)


class Failures(RemoteResumeTest):
    """What may happen meanwhile."""

    def test_kills_at_any_moment(self) -> None:
        seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
        print(f"SEED={seed}", file=sys.stderr)
        rng = random.Random(seed)
        self.bucket.mood = Mood.HOLDS
        vm, _ = self.resume_remote()
        with self.checking(vm):
            for _ in range(8):
                self.bucket.hold_after(rng.randrange(3))
                deadline = time.monotonic() + rng.random() * 0.3
                while time.monotonic() < deadline and not self.fetchers():
                    pass
                self.kill_fetchers()
                if rng.random() < 0.5:
                    self.stop_page_servers()
                    self.done("recover", self.store)
            self.bucket.mood = Mood.GOOD
        # A fetcher that is killed after the snapshot has its name leaves its pin, which expires.
        self.check_whole(may_leave_pin=True)

    def test_a_bucket_that_goes_away_and_comes_back(self) -> None:
        self.bucket.hold_after(1)
        vm, _ = self.resume_remote()
        wait_until(lambda: self.bucket.layer_reads == 1, "something was read")
        self.bucket.mood = Mood.AWAY
        self.stop_everything()
        # Nothing of the bucket is needed to resume another one.
        other, report = self.resume_remote()
        self.assertEqual(report["mode"], "uffd")
        with self.checking(vm, other):
            wait_until(lambda: waits_for_pages(other.pid), "a thread waits")
            self.stop_page_servers()
            self.done("recover", self.store)
            self.bucket.mood = Mood.GOOD
        self.check_whole()

    def test_what_fails_or_is_damaged_is_fetched_again(self) -> None:
        self.bucket.mood = Mood.HOLDS
        vm, _ = self.resume_remote()
        with self.checking(vm):
            for mood in (Mood.DAMAGES, Mood.FAILS):
                self.bucket.mood = mood
                wait_until(self.fetchers, "a fetcher runs")
                time.sleep(0.2)  # for some requests; nothing depends on their number
            self.bucket.mood = Mood.GOOD
        self.check_whole()

    def test_blocks_that_are_damaged_here_are_fetched_again(self) -> None:
        self.bucket.hold_after(1)
        vm, _ = self.resume_remote()
        (arrival,) = self.arrivals()
        wait_until(lambda: self.has_frames(arrival), "a frame has arrived")
        self.damage_what_is_here()
        here = self.blocks_here(arrival)

        def read_what_is_here() -> None:
            for block in here:
                vm.control(f"read {block}", LONG_S)
        reader = threading.Thread(target=read_what_is_here)
        reader.start()
        # What is damaged when the snapshot is whole does not come again.
        wait_until(lambda: here - self.blocks_here(arrival), "the fetcher has seen the damage")
        with self.checking(vm):
            self.bucket.mood = Mood.GOOD
        reader.join()
        self.check_whole()

    def test_what_a_power_failure_took_is_fetched_again(self) -> None:
        self.bucket.hold_after(1)
        vm, _ = self.resume_remote()
        arrival = self.damage_what_is_here()
        vm.kill()
        vm.wait()
        self.stop_everything()
        with (arrival / "here").open("r+b") as file:
            file.seek(BOOT_OFFSET)
            file.write(b"another boot")
        self.bucket.mood = Mood.GOOD
        other, _ = self.resume_remote()
        self.check(other)
        self.check_whole()

    def test_a_vm_does_not_wait_longer_than_the_limit(self) -> None:
        self.bucket.mood = Mood.HOLDS
        vm, _ = self.resume_remote("--wait-limit", "1")
        with contextlib.suppress(AssertionError, OSError):
            vm.control("check")
        self.assertEqual(vm.wait(), -signal.SIGKILL)
        self.wait_logged("has not arrived within 1 s")

    def test_what_the_bucket_has_lost_kills_the_vm(self) -> None:
        self.bucket.mood = Mood.HOLDS
        vm, _ = self.resume_remote()
        self.bucket.mood = Mood.LOST
        with contextlib.suppress(AssertionError, OSError):
            vm.control("check")
        self.assertEqual(vm.wait(), -signal.SIGKILL)
        self.wait_logged("the bucket does not have it any more")
        again = self.waiting()
        outcome = lamina("pause", "--api", again.api_socket, "--store", self.store, "--name", "b")
        self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))


class Packs(RemoteResumeTest):
    """A snapshot with a recorded working set."""

    TOUCHES = "touch 200 7"

    def setUp(self) -> None:
        super().setUp()
        other, self.store = self.store, self.origin
        vm, _ = self.resume("a", "--mode", "uffd")
        vm.tell(self.TOUCHES)
        vm.end()
        wait_until(lambda: self.done("inspect", self.store / "a", "--json").json[
            "working_set_blocks"] > 0, "the working set is recorded")
        self.stop_page_servers()
        self.push()
        self.assertEqual(len(self.bucket.keys("/v1/packs/")), 1)
        self.store = other
        self.bucket.requests.clear()

    def test_the_working_set_comes_in_few_requests_before_the_rest(self) -> None:
        self.bucket.mood = Mood.HOLDS  # of layers
        vm, _ = self.resume_remote()
        vm.tell(self.TOUCHES)
        requests = list(self.bucket.requests)
        self.assertEqual(self.bucket.layer_reads, 0)
        self.assertEqual(len([key for method, key in requests
                              if method == "GET" and "/v1/packs/" in key]), 1)
        # The pull: 4, and 2 for each of three objects; the fetcher: format, pin, pack. On a busy
        # machine answers may be late, and each of both sends at most two requests again.
        self.assertLessEqual(len(requests), 16 + 4)
        with self.checking(vm):
            wait_until(lambda: waits_for_pages(vm.pid), "a thread waits for the rest")
            self.bucket.mood = Mood.GOOD
        self.check_whole()

    def test_damaged_blocks_of_the_pack_come_again_with_their_frames(self) -> None:
        self.bucket.mood = Mood.HOLDS
        vm, _ = self.resume_remote()
        vm.tell(self.TOUCHES)
        self.damage_what_is_here()
        other, _ = self.resume_remote()
        with self.checking(other):
            wait_until(lambda: waits_for_pages(other.pid), "a damaged block is asked for")
            self.bucket.mood = Mood.GOOD
        self.check_whole()

    def test_without_a_pack_the_frames_of_the_working_set_come_first(self) -> None:
        for key in self.bucket.keys("/v1/packs/"):
            self.bucket.objects[key] = bytes(len(self.bucket.objects[key]))
        vm, _ = self.resume_remote()
        vm.tell(self.TOUCHES)
        self.assertLessEqual(len(self.bucket.requests), 40)
        self.check(vm)
        self.check_whole()

    def test_a_fetcher_that_is_killed_goes_on_with_what_the_pack_has_brought(self) -> None:
        self.bucket.mood = Mood.HOLDS
        first, _ = self.resume_remote()
        first.tell(self.TOUCHES)
        self.stop_everything()
        self.done("recover", self.store)
        other, _ = self.resume_remote()
        other.tell(self.TOUCHES)
        self.assertEqual(self.bucket.layer_reads, 0)
        with self.checking(first, other):
            self.bucket.mood = Mood.GOOD
        self.check_whole()

    def test_what_the_pack_has_brought_is_not_believed_after_a_power_failure(self) -> None:
        self.bucket.mood = Mood.HOLDS
        vm, _ = self.resume_remote()
        vm.tell(self.TOUCHES)
        vm.kill()
        vm.wait()
        self.stop_everything()
        (arrival,) = self.arrivals()
        for layer in arrival.glob("snapshot/memfile.*"):
            if layer.name != "memfile.header":
                with layer.open("r+b") as file:
                    file.write(bytes(layer.stat().st_size // 4096 * 4096 * 9 // 10 // 4096 * 4096))
        with (arrival / "here").open("r+b") as file:
            file.seek(BOOT_OFFSET)
            file.write(b"another boot")
        self.bucket.mood = Mood.GOOD
        other, _ = self.resume_remote()
        self.check(other)
        self.check_whole()


class GivenUp(RemoteResumeTest):
    """What recover does about arrivals."""

    def setUp(self) -> None:
        super().setUp()
        self.bucket.mood = Mood.HOLDS

    def recovered(self, *options: str) -> list[dict]:
        """The arrivals that recover reports."""
        report = self.done("recover", self.store, *options, "--json").json
        self.assertEqual(report["removed_arrivals"],
                         sum(one["removed"] for one in report["arrivals"]))
        return report["arrivals"]

    def end(self, vm: Firecracker) -> None:
        """The VM is gone."""
        vm.kill()
        vm.wait()

    def assert_removed(self) -> None:
        """Nothing is left of any arrival; the snapshot can be pulled again."""
        self.assertEqual(self.arrivals(), [])
        self.assert_nothing_left()
        self.bucket.mood = Mood.GOOD
        vm, _ = self.resume_remote()
        self.check(vm)
        self.wait_whole()
        self.done("verify", self.store / "a")

    def test_what_a_vm_uses_is_left_alone(self) -> None:
        vm, _ = self.resume_remote()
        (arrival,) = self.recovered()
        self.assertEqual((arrival["name"], arrival["vms"], arrival["removed"]), ("a", 1, False))
        self.assertEqual((arrival["frames_here"], arrival["lost"]), (0, False))
        self.assertGreater(arrival["frames"], 0)
        self.assertGreater(arrival["bytes"], 0)
        self.assertIn("1 VM", self.done("recover", self.store).stdout)
        self.stop_everything()
        (arrival,) = self.recovered()
        self.assertEqual((arrival["vms"], arrival["removed"]), (1, False))
        with self.checking(vm):
            self.bucket.mood = Mood.GOOD
        self.check_whole()
        self.assertEqual(self.recovered(), [])

    def test_what_nobody_uses_is_removed(self) -> None:
        vm, _ = self.resume_remote()
        wait_until(self.fetchers, "a fetcher runs")
        wait_until(lambda: self.recovered()[0]["fetcher"], "it has the lock")
        self.end(vm)
        (arrival,) = self.recovered()
        self.assertEqual((arrival["vms"], arrival["fetcher"], arrival["removed"]),
                         (0, True, False))
        self.stop_everything()
        (arrival,) = self.recovered("--dry-run")
        self.assertEqual((arrival["fetcher"], arrival["removed"]), (False, True))
        self.assertEqual(len(self.arrivals()), 1)
        self.assertIn("removed", self.done("recover", self.store).stdout)
        self.assert_removed()

    def test_a_dry_run_knows_which_pins_would_go(self) -> None:
        vm, _ = self.resume_remote()
        self.stop_everything()
        self.end(vm)
        (arrival,) = self.recovered("--dry-run")
        self.assertEqual((arrival["vms"], arrival["removed"]), (0, True))
        self.assertEqual(len(self.arrivals()), 1)

    def test_a_resume_that_has_begun_it_keeps_it_until_it_is_killed(self) -> None:
        silent = self.directory / "silent.sock"
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(silent))
            listening.listen()
            with subprocess.Popen([os.environ["LAMINA"], "resume", "--api", silent, "--store",
                                   self.store, "--name", "a", "--remote", self.bucket.url],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as resume:
                wait_until(self.arrivals, "the pull has begun")
                (arrival,) = self.recovered()
                self.assertEqual((arrival["vms"], arrival["being_resumed"], arrival["removed"]),
                                 (0, True, False))
                resume.kill()
        (arrival,) = self.recovered()
        self.assertEqual((arrival["being_resumed"], arrival["removed"]), (False, True))
        self.assert_removed()

    def test_kills_of_the_resume_leave_nothing(self) -> None:
        seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
        print(f"SEED={seed}", file=sys.stderr)
        rng = random.Random(seed)
        # A store: the first resume may be killed before it makes one.
        vm, _ = self.resume_remote()
        self.end(vm)
        self.stop_everything()
        self.recovered()
        for _ in range(6):
            vm = self.waiting()
            with subprocess.Popen([os.environ["LAMINA"], "resume", "--api", vm.api_socket,
                                   "--store", self.store, "--name", "a", "--remote",
                                   self.bucket.url],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as resume:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    resume.wait(rng.random() * 0.2)
                resume.kill()
            self.recovered()
            self.end(vm)
            self.stop_everything()
            self.recovered()
            self.assertEqual((self.arrivals(), self.pins()), ([], []))
        self.assert_removed()

    def test_what_killed_removals_have_left_is_removed(self) -> None:
        vm, _ = self.resume_remote()
        self.end(vm)
        self.stop_everything()
        (arrival,) = self.arrivals()
        # Killed after the rename of what was whole, and after the rename of what was given up.
        ended = arrival.with_name(str(uuid.uuid4()))
        ended.mkdir()
        (ended / "arrival.json").write_bytes((arrival / "arrival.json").read_bytes())
        arrival.rename(self.store / ".tmp" / arrival.name)
        self.assertEqual(self.recovered(), [])
        self.assert_removed()

    def test_a_damaged_one_is_removed_unless_a_vm_uses_it(self) -> None:
        vm, _ = self.resume_remote()
        self.stop_everything()
        (directory,) = self.arrivals()
        (directory / "arrival.json").write_text("{}")
        (arrival,) = self.recovered()
        self.assertEqual(arrival["name"], "")
        # The page server that recover starts cannot give the VM its memory. It may have killed it.
        self.assertEqual(arrival["removed"], arrival["vms"] == 0)
        if arrival["removed"]:
            self.assertFalse(vm.is_running())
        else:
            self.end(vm)
            self.stop_everything()
            (arrival,) = self.recovered()
            self.assertEqual(arrival["removed"], True)
        self.assert_removed()

    def test_one_of_another_store_is_left_alone_unless_it_is_adopted(self) -> None:
        vm, _ = self.resume_remote()
        self.end(vm)
        self.stop_everything()
        copy = self.directory / "copy"
        shutil.copytree(self.store, copy, symlinks=True,
                        ignore=lambda folder, names: [
                            name for name in names if Path(folder, name).is_socket()])
        self.store = copy
        report = self.done("recover", copy, "--json").json
        self.assertGreaterEqual(report["foreign"], 1)
        self.assertEqual((report["arrivals"], len(self.arrivals())), ([], 1))
        self.done("recover", copy, "--adopt-store")
        self.assertEqual(self.arrivals(), [])

    def test_what_the_bucket_has_lost_is_removed(self) -> None:
        vm, _ = self.resume_remote()
        self.bucket.mood = Mood.LOST
        with contextlib.suppress(AssertionError, OSError):
            vm.control("check")
        self.assertEqual(vm.wait(), -signal.SIGKILL)
        self.stop_everything()
        (arrival,) = self.recovered()
        self.assertEqual((arrival["lost"], arrival["removed"]), (True, True))
        self.assert_removed()


if __name__ == "__main__":
    main()
