"""push, pull, ls, du, rm, prune and verify of a bucket: a directory, or SeaweedFS where that can be
had."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from memory_files import (EXIT_CORRUPT, EXIT_DONE, EXIT_FAILED, EXIT_NOT_FOUND, EXIT_USAGE,
                          PAGE_BYTES, change_memory, lamina, layers_of, main,
                          random_memory)
from whole_snapshots import HEX_KEY, WholeSnapshotTest

MEMORY_BYTES = 256 * PAGE_BYTES
URL_VARIABLE = "LAMINA_TEST_BUCKET"


class RemoteTest(WholeSnapshotTest):
    """A snapshot with a chain of two layers, a VM state and attached files, and an empty bucket."""

    def setUp(self) -> None:
        super().setUp()
        self.memory = random_memory(self.rng, MEMORY_BYTES)
        self.state = self.directory / "state"
        self.state.write_bytes(self.rng.randbytes(5000))
        base = self.ingest_full(self.memory, "base", "--vmstate", str(self.state))
        dirty = change_memory(self.rng, self.memory)
        self.snapshot = self.ingest_diff(self.memory, dirty, base, "vm", "--vmstate",
                                         str(self.state))
        self.attach(self.snapshot)
        self.other = self.directory / "other"
        self.other.mkdir()
        self.bucket = self.directory / "bucket"
        self.bucket.mkdir()
        self.url = f"file://{self.bucket}"
        if URL_VARIABLE in os.environ:
            base_url, _, options = os.environ[URL_VARIABLE].partition("?")
            self.url = f"{base_url}/{self.id()}-{os.getpid()}?{options}"

    def remote(self, action: str, *arguments: str | Path) -> dict:
        """Runs a verb, which must succeed; returns its report."""
        if action == "keys":
            action, *arguments = arguments
            return self.done("remote", "keys", action, self.url, *arguments, "--json").json
        return self.done("remote", action, self.url, *arguments, "--json").json

    def assert_same_snapshot(self, copy: Path) -> None:
        """The disk is sparse, too."""
        self.assert_same_files(copy)
        self.assertLess((copy / "disk.img").stat().st_blocks * 512, 1 << 20)


class RoundTrip(RemoteTest):
    """What is pulled is what was pushed."""

    def test_a_chain_with_attached_files_comes_back_the_same(self) -> None:
        for codec in ("zstd", "lz4", "none"):
            with self.subTest(codec=codec), self.unchanged(self.snapshot):
                pushed = self.remote("push", self.snapshot, "--as", codec, "--codec", codec)
                self.assertEqual((pushed["name"], pushed["number"]), (codec, 1))
                self.remote("pull", codec, "--store", self.other)
                self.assert_same_snapshot(self.other / codec)
        self.assertEqual(len(layers_of(self.other / "zstd")), 2)

    def test_an_encrypted_snapshot_comes_back_with_its_key_only(self) -> None:
        key = self.directory / "key"
        key.write_text(HEX_KEY)
        key.chmod(0o600)
        self.remote("push", self.snapshot, "--key-file", key)
        outcome = lamina("remote", "pull", self.url, "vm", "--store", self.other)
        self.assertEqual(outcome.code, EXIT_USAGE, str(outcome))
        self.remote("pull", "vm", "--store", self.other, "--key-file", key)
        self.assert_same_snapshot(self.other / "vm")
        self.assertTrue(self.remote("ls")["snapshots"][0]["encrypted"])
        self.assertTrue(self.remote("verify", "--data", "--key-file", key)["intact"])
        stored = b"".join(path.read_bytes() for path in self.bucket.rglob("*") if path.is_file())
        self.assertNotIn((self.snapshot / "disk.img").read_bytes()[PAGE_BYTES:PAGE_BYTES + 64],
                         stored)

    def test_the_next_diff_sends_only_itself(self) -> None:
        first = self.remote("push", self.snapshot)
        self.assertEqual(first["reused_objects"], 0)
        dirty = change_memory(self.rng, self.memory)
        child = self.ingest_diff(self.memory, dirty, self.snapshot, "child")
        second = self.remote("push", child, "--as", "vm")
        self.assertEqual(second["number"], 2)
        self.assertFalse(second["conflict"])
        self.assertGreaterEqual(second["reused_objects"], 2)
        again = self.remote("push", child, "--as", "vm")
        self.assertTrue(again["already_there"])
        self.remote("pull", "vm", "--store", self.other)
        self.assert_resolves_to(self.other / "vm", self.memory)


    def test_of_a_disk_only_what_changed_is_sent(self) -> None:
        disk = bytearray(self.rng.randbytes(1024 * PAGE_BYTES))
        (self.snapshot / "disk-2.img").write_bytes(disk)
        self.remote("push", self.snapshot)
        child = self.ingest_diff(self.memory, set(), self.snapshot, "child")
        disk[100 * PAGE_BYTES:130 * PAGE_BYTES] = self.rng.randbytes(30 * PAGE_BYTES)
        (child / "disk-2.img").write_bytes(disk)
        sent = self.remote("push", child, "--as", "vm")["uploaded_bytes"]
        self.assertGreater(sent, 30 * PAGE_BYTES)
        self.assertLess(sent, 40 * PAGE_BYTES)
        self.remote("pull", "vm", "--store", self.other)
        self.assertEqual((self.other / "vm" / "disk-2.img").read_bytes(), bytes(disk))
        self.assertTrue(self.remote("verify", "--data")["intact"])


class Hosts(RemoteTest):
    """Two hosts with one bucket."""

    def test_a_sandbox_moves_to_another_host_and_back(self) -> None:
        self.remote("push", self.snapshot)
        self.remote("pull", "vm", "--store", self.other)
        shutil.rmtree(self.store)
        dirty = change_memory(self.rng, self.memory)
        child = self.ingest_diff(self.memory, dirty, self.other / "vm", "child", store=self.other)
        pushed = self.remote("push", child, "--as", "vm")
        self.assertEqual((pushed["number"], pushed["conflict"]), (2, False))
        self.store.mkdir()
        self.remote("pull", "vm", "--store", self.store)
        self.assert_resolves_to(self.store / "vm", self.memory)

    def test_a_conflict_overwrites_nothing_and_says_so(self) -> None:
        self.remote("push", self.snapshot)
        self.remote("pull", "vm", "--store", self.other)
        theirs = self.ingest_full(random_memory(self.rng, MEMORY_BYTES), "theirs",
                                  store=self.other)
        outcome = lamina("remote", "push", self.url, theirs, "--as", "vm", "--json")
        self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
        report = json.loads(outcome.stdout)
        self.assertTrue(report["conflict"])
        self.assertTrue(report["name"].startswith("vm@"))
        names = [one["name"] for one in self.remote("ls")["snapshots"]]
        self.assertEqual(names, ["vm", report["name"]])
        self.remote("pull", "vm", "--store", self.other, "--as", "newest")
        self.assert_resolves_to(self.other / "newest", self.memory)


class Housekeeping(RemoteTest):
    """rm, prune, du and verify."""

    def test_removed_snapshots_are_pruned_and_others_stay(self) -> None:
        self.remote("push", self.snapshot, "--as", "one")
        self.remote("push", self.snapshot, "--as", "two")
        self.assertEqual(self.remote("du")["snapshots"], 2)
        self.assertEqual(self.remote("rm", "one", "--dry-run")["records"], 1)
        self.remote("rm", "one")
        outcome = lamina("remote", "pull", self.url, "one", "--store", self.other)
        self.assertEqual(outcome.code, EXIT_NOT_FOUND, str(outcome))
        self.remote("prune")
        self.remote("pull", "two", "--store", self.other)
        self.assert_same_snapshot(self.other / "two")
        self.remote("rm", "two")
        self.remote("prune")
        self.assertEqual(self.remote("du")["objects"], 0)
        self.assertEqual(self.remote("ls")["snapshots"], [])

    def test_retention_keeps_what_its_rules_say(self) -> None:
        snapshot = self.snapshot
        self.remote("push", snapshot)
        for number in range(3):
            dirty = change_memory(self.rng, self.memory)
            snapshot = self.ingest_diff(self.memory, dirty, snapshot, f"child{number}")
            self.remote("push", snapshot, "--as", "vm")
        self.assertEqual(len(self.remote("ls", "--all")["snapshots"]), 4)
        self.assertEqual(self.remote("prune", "--keep-within", "1h")["removed_records"], 0)
        self.assertEqual(self.remote("prune", "--keep-last", "1", "--names",
                                     "other*")["removed_records"], 0)
        self.assertEqual(self.remote("prune", "--keep-last", "2", "--dry-run")["removed_records"],
                         2)
        self.assertEqual(self.remote("prune", "--keep-last", "2")["removed_records"], 2)
        self.assertEqual(len(self.remote("ls", "--all")["snapshots"]), 2)
        self.assertTrue(self.remote("verify", "--data")["intact"])
        self.remote("pull", "vm", "--store", self.other)
        self.assert_resolves_to(self.other / "vm", self.memory)

    def test_a_damaged_bucket_is_found(self) -> None:
        self.remote("push", self.snapshot)
        self.assertTrue(self.remote("verify", "--data")["intact"])
        if URL_VARIABLE in os.environ:
            return
        layer = next((self.bucket / "v1" / "layers").iterdir())
        layer.chmod(0o600)
        stored = bytearray(layer.read_bytes())
        stored[17] ^= 1
        layer.write_bytes(stored)
        outcome = lamina("remote", "verify", self.url, "vm", "--data")
        self.assertEqual(outcome.code, EXIT_CORRUPT, str(outcome))
        outcome = lamina("remote", "pull", self.url, "vm", "--store", self.other)
        self.assertEqual(outcome.code, EXIT_CORRUPT, str(outcome))
        self.assertFalse((self.other / "vm").exists())


class Keys(RemoteTest):
    """remote keys ls, rotate and destroy."""

    def key(self, name: str, *digits: str) -> Path:
        """A key file with a key of each digit."""
        path = self.directory / name
        path.write_text("".join(digit * 64 + "\n" for digit in digits))
        path.chmod(0o600)
        return path

    def keys_of_bucket(self) -> dict[str, int]:
        """How many states each key has."""
        return {key["key_id"]: len(key["states"])
                for key in self.remote("keys", "ls")["keys"]}

    def test_a_key_is_exchanged_without_sending_data(self) -> None:
        old, new, both = self.key("old", "a"), self.key("new", "b"), self.key("both", "b", "a")
        self.remote("push", self.snapshot, "--key-file", old)
        arguments = ("--old-key-file", old, "--key-file", new)
        foretold = self.remote("keys", "rotate", *arguments, "--dry-run")
        self.assertEqual((foretold["rotated_states"], foretold["dry_run"]), (1, True))
        before = self.keys_of_bucket()
        rotated = self.remote("keys", "rotate", *arguments)
        self.assertEqual((rotated["rotated_states"], rotated["complete"]), (1, True))
        after = self.keys_of_bucket()
        self.assertEqual(list(before), [rotated["old_key_id"]])
        self.assertEqual(after, {rotated["key_id"]: 1})
        self.refused(EXIT_FAILED, "remote", "pull", self.url, "vm", "--store", self.other,
                     "--key-file", old)
        self.remote("pull", "vm", "--store", self.other, "--key-file", both)
        self.assert_same_snapshot(self.other / "vm")
        listed = self.done("remote", "keys", "ls", self.url, "--key-file", new)
        self.assertIn(f"{rotated['key_id']} (given)", listed.stdout)
        self.assertIn("vm", self.done("remote", "keys", "ls", self.url, "--states").stdout)

    def test_a_key_is_destroyed_only_on_request(self) -> None:
        old, new = self.key("old", "a"), self.key("new", "b")
        self.remote("push", self.snapshot, "--as", "lost", "--key-file", old)
        self.remote("push", self.snapshot, "--as", "kept", "--key-file", new)
        ids = {state["name"]: key["key_id"] for key in self.remote("keys", "ls")["keys"]
               for state in key["states"]}
        self.refused(EXIT_USAGE, "remote", "keys", "destroy", self.url, ids["lost"],
                     names=["--dry-run", "--yes"])
        foretold = self.remote("keys", "destroy", ids["lost"], "--dry-run")
        self.assertEqual(foretold["lost_names"], ["lost"])
        self.assertEqual(len(self.keys_of_bucket()), 2)
        destroyed = self.remote("keys", "destroy", ids["lost"], "--yes")
        self.assertEqual(destroyed["lost_names"], ["lost"])
        self.assertEqual(self.keys_of_bucket(), {ids["kept"]: 1})
        self.assertEqual(self.remote("prune")["removed_objects"], destroyed["lost_objects"])
        self.remote("pull", "kept", "--store", self.other, "--key-file", new)
        self.assert_same_snapshot(self.other / "kept")
        self.refused(EXIT_NOT_FOUND, "remote", "keys", "destroy", self.url, ids["lost"], "--yes")


class Usage(RemoteTest):
    """What is wrong with a command is said before anything is done."""

    def test_bad_arguments_are_refused(self) -> None:
        for arguments, code in ((("ls", "http://x"), EXIT_USAGE),
                                (("ls", f"file://{self.directory}/nothing"), EXIT_NOT_FOUND),
                                (("pull", self.url, "../x", "--store", self.other), EXIT_USAGE),
                                (("pull", self.url, "none", "--store", self.other), EXIT_NOT_FOUND),
                                (("push", self.url, self.store / "none"), EXIT_NOT_FOUND),
                                (("prune", self.url, "--keep-within", "x"), EXIT_USAGE),
                                (("nothing", self.url), EXIT_USAGE)):
            with self.subTest(arguments=arguments):
                outcome = lamina("remote", *arguments)
                self.assertEqual(outcome.code, code, str(outcome))

    def test_help_is_found_by_both_spellings(self) -> None:
        for arguments in (("remote", "push", "--help"), ("remote-push", "--help"),
                          ("help", "remote", "push")):
            with self.subTest(arguments=arguments):
                outcome = lamina(*arguments)
                self.assertEqual(outcome.code, EXIT_DONE, str(outcome))
                self.assertIn("--replace", outcome.stdout)


def over_seaweedfs() -> int:
    """The same over a real server. 77: it cannot be had."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "object_store"))
    from servers import ACCESS_KEY, SECRET_KEY, Unavailable, running
    cache = Path(os.environ["LAMINA_SERVER_CACHE"])
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lamina-server-") as work:
        try:
            with running("seaweedfs", cache, Path(work)) as server:
                environment = os.environ | {URL_VARIABLE: server.url,
                                            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
                                            "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
                return subprocess.run([sys.executable, __file__], env=environment,
                                      check=False).returncode
        except Unavailable as reason:
            print(f"skipped: {reason}")
            return 77


if __name__ == "__main__":
    if sys.argv[1:] == ["--seaweedfs"]:
        sys.exit(over_seaweedfs())
    main()
