"""pack and unpack: one file of a snapshot, for export, import and backup."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

from memory_files import (EXIT_CORRUPT, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_NO_SPACE,
                          EXIT_NOT_FOUND, EXIT_USAGE, GuestMemory, PAGE_BYTES,
                          change_memory, data_map, flip, lamina, layers_of, main, random_memory,
                          stopped_after)
from mounts import EXT4, TMPFS, XFS, fill, mount
from whole_snapshots import HEX_KEY, WholeSnapshotTest

MEMORY_BYTES = 256 * PAGE_BYTES
CODECS = ("zstd", "lz4", "none")


class PackTest(WholeSnapshotTest):
    """A snapshot with a chain of three layers, a VM state and attached files."""

    def setUp(self) -> None:
        super().setUp()
        self.memory = random_memory(self.rng, MEMORY_BYTES)
        state = self.directory / "state"
        state.write_bytes(self.rng.randbytes(5000))
        snapshot = self.ingest_full(self.memory, "base", "--vmstate", str(state))
        for name in ("first", "vm"):
            dirty = change_memory(self.rng, self.memory)
            snapshot = self.ingest_diff(self.memory, dirty, snapshot, name, "--vmstate",
                                        str(state))
        self.snapshot = snapshot
        self.attach(snapshot)
        self.packed = self.directory / "packed"
        self.other = self.directory / "other"
        self.other.mkdir()
        self.key = self.key_file("key", HEX_KEY)

    def key_file(self, name: str, text: str, mode: int = 0o600) -> Path:
        path = self.directory / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def pack(self, *options: str | Path) -> None:
        self.done("pack", self.snapshot, "-o", self.packed, *options)

    def assert_same_snapshot(self, copy: Path, memory: GuestMemory | None = None) -> None:
        """Holes, too."""
        self.assert_same_files(copy, memory)
        self.assertEqual(data_map(copy / "disk.img"), data_map(self.snapshot / "disk.img"))


class RoundTrip(PackTest):
    """What comes back is what was packed."""

    def test_a_chain_with_attached_files_comes_back_the_same(self) -> None:
        for codec in CODECS:
            for key in ([], ["--key-file", self.key]):
                with self.subTest(codec=codec, key=key), self.unchanged(self.snapshot):
                    copy = self.other / f"{codec}-{len(key)}"
                    self.pack("--codec", codec, *key)
                    self.done("unpack", self.packed, copy, *key)
                    self.assert_same_snapshot(copy)
                    self.packed.unlink()
        self.assertEqual(len(layers_of(copy)), 3)

    def test_inspect_shows_the_same(self) -> None:
        self.pack()
        copy = self.other / "vm"
        self.done("unpack", self.packed, copy)

        def facts(path: Path) -> dict[str, object]:
            shown = self.done("inspect", path, "--json", "--extents").json
            for layer in shown["layers"]:
                for key in ("file", "allocated_bytes", "link_count"):
                    layer.pop(key)
            return {key: value for key, value in shown.items() if key not in ("snapshot", "path")}
        self.assertEqual(facts(copy), facts(self.snapshot))

    def test_a_fork_and_a_child_of_the_copy_work(self) -> None:
        fork = self.store / "fork"
        self.done("fork", self.snapshot, fork)
        self.done("rm", self.snapshot)
        self.snapshot = fork
        self.pack("--frame-blocks", "32")
        copy = self.other / "vm"
        self.done("unpack", self.packed, copy)
        self.assert_same_snapshot(copy)
        dirty = change_memory(self.rng, self.memory)
        child = self.ingest_diff(self.memory, dirty, copy, "child", store=self.other)
        self.done("merge", child)
        self.assert_resolves_to(child, self.memory)

    def test_a_copy_goes_to_another_file_system(self) -> None:
        self.pack()
        for system in (EXT4, XFS, TMPFS):
            with self.subTest(system=system.name):
                store = mount(self, self.directory, system) / "store"
                store.mkdir()
                self.done("unpack", self.packed, store / "vm")
                self.assert_same_snapshot(store / "vm")

    def test_headers_of_old_versions_come_back_too(self) -> None:
        for form in ("v1", "v3"):
            with self.subTest(form=form):
                memory = random_memory(self.rng, MEMORY_BYTES)
                old = self.ingest_full(memory, form, "--header", form)
                packed = self.directory / f"packed-{form}"
                self.done("pack", old, "-o", packed)
                self.done("unpack", packed, self.other / form)
                self.assert_resolves_to(self.other / form, memory)

    def test_a_key_command_sees_one_key(self) -> None:
        log = self.directory / "log"
        command = f'echo "$LAMINA_KEY_OPERATION" >> {log}; tr "\\000-\\377" "\\001-\\377\\000"'
        undo = f'echo "$LAMINA_KEY_OPERATION" >> {log}; tr "\\001-\\377\\000" "\\000-\\377"'
        both = f'if [ "$LAMINA_KEY_OPERATION" = wrap ]; then {command}; else {undo}; fi'
        self.pack("--key-command", both)
        self.done("unpack", self.packed, self.other / "vm", "--key-command", both)
        self.assert_same_snapshot(self.other / "vm")
        self.assertEqual(log.read_text().split(), ["wrap", "unwrap"])
        with self.unchanged():
            self.refused(EXIT_FAILED, "unpack", self.packed, self.other / "new", "--key-command",
                         "cat; exit 3", names=["ended with 3"])

    def test_reports_say_what_was_packed(self) -> None:
        packed = self.done("pack", self.snapshot, "-o", self.packed, "--json").json
        self.assertEqual(packed["message_type"], "pack")
        self.assertEqual((packed["layers"], packed["files"], packed["encrypted"]), (3, 6, False))
        self.assertEqual(packed["packed_bytes"], self.packed.stat().st_size)
        self.assertEqual(packed["memory_bytes"], MEMORY_BYTES)
        unpacked = self.done("unpack", self.packed, self.other / "vm", "--json").json
        self.assertEqual(unpacked["message_type"], "unpack")
        for key in ("pause_id", "memory_bytes", "layers", "files", "data_bytes", "packed_bytes"):
            self.assertEqual(unpacked[key], packed[key], key)
        self.assertEqual(unpacked["generation"], 2)
        shown = self.done("pack", self.snapshot, "-o", self.directory / "again").stdout
        self.assertIn("3 layers, 6 other files", shown)

    def test_a_working_set_comes_back(self) -> None:
        """It is a file of the snapshot like others, and not one that a user attached."""
        hint = self.snapshot / "working-set"
        hint.write_bytes(b"a hint, which readers check")
        self.pack()
        self.done("unpack", self.packed, self.other / "vm")
        self.assertEqual((self.other / "vm" / "working-set").read_bytes(), hint.read_bytes())


class Refused(PackTest):
    """What cannot be packed or unpacked: one line that says why, and nothing changed."""

    def unpack_refused(self, code: int, packed: Path, *options: str | Path,
                       names: tuple[str | Path, ...] = ()) -> None:
        with self.unchanged():
            self.refused(code, "unpack", packed, self.other / "vm", *options,
                         names=(packed, *names))

    def test_damage_is_found(self) -> None:
        self.pack()
        whole = self.packed.read_bytes()
        damaged = self.directory / "damaged"
        damaged.write_bytes(whole)
        flip(damaged)
        self.unpack_refused(EXIT_CORRUPT, damaged)
        for length in (0, 1, 127, 128, len(whole) // 2, len(whole) - 1):
            with self.subTest(length=length):
                damaged.write_bytes(whole[:length])
                self.unpack_refused(EXIT_CORRUPT, damaged, names=("packed snapshot",))
        damaged.write_bytes(whole + b"x")
        self.unpack_refused(EXIT_CORRUPT, damaged)

    def test_other_files_are_not_packed_snapshots(self) -> None:
        for path in (self.snapshot / "memfile.header", layers_of(self.snapshot)[0]):
            self.unpack_refused(EXIT_CORRUPT, path, names=("not one",))
        self.unpack_refused(EXIT_NOT_FOUND, self.directory / "missing")
        self.unpack_refused(EXIT_FAILED, self.snapshot)
        fifo = self.directory / "fifo"
        os.mkfifo(fifo)
        self.unpack_refused(EXIT_FAILED, fifo, names=("not a file",))
        huge = self.directory / "huge"
        with huge.open("wb") as stream:
            stream.truncate(1 << 40)
        self.unpack_refused(EXIT_CORRUPT, huge)

    def test_keys_must_fit(self) -> None:
        self.pack("--key-file", self.key)
        wrong = self.key_file("wrong", "f" * 64)
        readable = self.key_file("readable", HEX_KEY, 0o644)
        short = self.key_file("short", "abc")
        self.unpack_refused(EXIT_USAGE, self.packed, names=("encrypted", "--key-file"))
        self.unpack_refused(EXIT_FAILED, self.packed, "--key-file", wrong, names=("the key file:",))
        plain = self.directory / "plain"
        self.done("pack", self.snapshot, "-o", plain)
        self.unpack_refused(EXIT_USAGE, plain, "--key-file", self.key, names=("not encrypted",))
        for key, code, name in ((readable, EXIT_FAILED, "chmod 600"), (short, EXIT_USAGE, "32"),
                                (self.directory / "none", EXIT_NOT_FOUND, "none")):
            with self.subTest(key=key.name), self.unchanged():
                for arguments in (["pack", self.snapshot, "-o", self.directory / "new"],
                                  ["unpack", self.packed, self.other / "vm"]):
                    self.refused(code, *arguments, "--key-file", key, names=(key, name))
        with self.unchanged():
            self.refused(EXIT_USAGE, "unpack", self.packed, self.other / "vm", "--key-file",
                         self.key, "--key-command", "cat")

    def test_an_encrypted_file_shows_nothing(self) -> None:
        secret = b"0123456789" * 2000
        (self.snapshot / "secret.txt").write_bytes(secret)
        self.pack("--key-file", self.key, "--codec", "none")
        packed = self.packed.read_bytes()
        self.assertNotIn(secret[:100], packed)
        self.assertNotIn(b"secret.txt", packed)
        build_id = layers_of(self.snapshot)[0].name.removeprefix("memfile.")
        self.assertNotIn(build_id.encode(), packed)
        self.assertNotIn(bytes.fromhex(build_id.replace("-", "")), packed)

    def test_names_that_are_taken_are_refused(self) -> None:
        self.pack()
        with self.unchanged():
            self.refused(EXIT_FAILED, "pack", self.snapshot, "-o", self.packed,
                         names=[self.packed, "already exists"])
            self.refused(EXIT_FAILED, "unpack", self.packed, self.snapshot,
                         names=[self.snapshot, "already exists"])
            self.refused(EXIT_USAGE, "unpack", self.packed, self.other / ".hidden")
            self.refused(EXIT_NOT_FOUND, "unpack", self.packed, self.directory / "none" / "vm")
            self.refused(EXIT_NOT_FOUND, "pack", self.store / "none", "-o", self.other / "new")
            self.refused(EXIT_NOT_FOUND, "pack", self.snapshot, "-o",
                         self.directory / "none" / "new")

    def test_only_files_are_packed(self) -> None:
        (self.snapshot / "link").symlink_to("/etc/passwd")
        with self.unchanged():
            self.refused(EXIT_FAILED, "pack", self.snapshot, "-o", self.other / "new",
                         names=["link", "only files can"])

    def test_damaged_snapshots_are_not_packed(self) -> None:
        for name in (layers_of(self.snapshot)[0].name, "snapfile", "memfile.header"):
            path = self.snapshot / name
            with self.subTest(name=name):
                whole = path.read_bytes()
                path.unlink()
                path.write_bytes(whole)
                flip(path)
                with self.unchanged():
                    self.refused(EXIT_CORRUPT, "pack", self.snapshot, "-o", self.other / "new",
                                 names=[name])
                path.write_bytes(whole)

    def test_layers_without_checksums_are_merged_first(self) -> None:
        old = self.ingest_full(self.memory, "old", "--header", "v1")
        layer = layers_of(old)[0]
        data = layer.read_bytes()[:len(self.memory.pages) * PAGE_BYTES]
        layer.unlink()
        layer.write_bytes(data)
        (old / "snapshot.json").unlink()
        with self.unchanged():
            self.refused(EXIT_FAILED, "pack", old, "-o", self.packed,
                         names=["no checksums", f"lamina merge {old}"])
        self.done("merge", old)
        self.done("pack", old, "-o", self.packed)
        self.done("unpack", self.packed, self.other / "old")
        self.assert_resolves_to(self.other / "old", self.memory)

    def test_wrong_options_are_usage_errors(self) -> None:
        pack = ["pack", self.snapshot, "-o", self.other / "new"]
        for arguments in (["pack"], ["pack", self.snapshot], [*pack, "--codec", "gzip"],
                          [*pack, "--frame-blocks", "0"], [*pack, "--frame-blocks", "65"],
                          [*pack, "--key-file", ""], ["unpack"], ["unpack", self.packed],
                          ["pack", self.snapshot, "-o", self.other / ".."]):
            with self.subTest(arguments=arguments), self.unchanged():
                self.refused(EXIT_USAGE, *arguments)


class Unfinished(PackTest):
    """A full disk, interruptions and kills leave nothing behind."""

    def test_a_full_disk_is_reported_and_leaves_nothing(self) -> None:
        self.pack("--codec", "none")
        small = mount(self, self.directory, EXT4)
        store = small / "store"
        store.mkdir()
        self.done("unpack", self.packed, store / "first")
        fill(small)
        with self.unchanged(small, times=False):
            self.refused(EXIT_NO_SPACE, "unpack", self.packed, store / "vm", names=["space"])
            self.refused(EXIT_NO_SPACE, "pack", self.snapshot, "-o", small / "new", "--codec",
                         "none", names=["space"])

    def interrupted(self, number: int, *arguments: str | Path) -> int:
        """Sends a signal after the third write; returns the exit code."""
        if shutil.which("strace") is None:
            self.skipTest("strace is not installed")
        command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64", "-e",
                   f"inject=pwrite64:signal={number}:when=3"]
        return lamina(*arguments, prefix=command).code

    def test_an_interrupt_leaves_nothing(self) -> None:
        self.pack()
        with self.unchanged():
            code = self.interrupted(signal.SIGINT, "unpack", self.packed, self.other / "vm")
            self.assertEqual(code, EXIT_INTERRUPTED)

    def test_what_a_kill_leaves_is_cleaned_up(self) -> None:
        self.pack("--codec", "none")
        self.interrupted(signal.SIGKILL, "unpack", self.packed, self.other / "vm")
        self.assertFalse((self.other / "vm").exists())
        self.assertNotEqual(list((self.other / ".tmp").iterdir()), [])
        self.done("unpack", self.packed, self.other / "vm")
        self.assert_same_snapshot(self.other / "vm")
        self.assertEqual(list((self.other / ".tmp").iterdir()), [])
        with self.unchanged(self.other):
            code = self.interrupted(signal.SIGKILL, "pack", self.snapshot, "-o",
                                    self.other / "new", "--codec", "none")
            self.assertNotEqual(code, 0)

    def test_a_snapshot_that_is_replaced_meanwhile_is_packed_whole(self) -> None:
        """All its files are open before anything is written."""
        if shutil.which("strace") is None:
            self.skipTest("strace is not installed")
        with stopped_after("pwrite64", 1, self.directory, "pack", self.snapshot, "-o",
                           self.packed, "--codec", "none") as outcomes:
            self.done("merge", self.snapshot)  # exchanges the directory, and removes the old one
        self.assertEqual(outcomes[0].code, 0, str(outcomes[0]))
        self.done("unpack", self.packed, self.other / "vm")
        self.done("verify", self.other / "vm")
        self.assert_memory(self.materialized(self.other / "vm"), self.memory)


if __name__ == "__main__":
    main()
