#!/usr/bin/env python3
"""Links, mounts and damaged records in a store: nothing outside of it is touched.

Environment: LAMINA is the binary.
"""

from __future__ import annotations

import json
import os
import sys

sys.dont_write_bytecode = True  # the source folder stays clean

from memory_files import (EXIT_DONE, EXIT_FAILED, GuestMemory, LaminaTest, Outcome, PAGE_BYTES,
                          lamina, main, tree_of, write_full)
from mounts import TMPFS, bind, mount
from pins import identity_of

SOME_ID = "0a1b2c3d-1111-4222-8333-444455556666"
OTHER_ID = "0a1b2c3d-1111-4222-8333-777788889999"
AREAS = (".tmp", ".pending", ".vms", ".maps", ".counts", ".lock")


class HostileStore(LaminaTest):
    """A store with a snapshot, and a directory outside of it that must stay as it is."""

    def setUp(self) -> None:
        super().setUp()
        memory = write_full(self.directory / "memory", GuestMemory(8 * PAGE_BYTES))
        self.done("ingest", memory, "--out", self.store / "s")
        self.outside = self.directory / "outside"
        (self.outside / SOME_ID).mkdir(parents=True)
        (self.outside / SOME_ID / "precious").write_text("precious")
        (self.outside / "precious").write_text("precious")
        self.before = tree_of(self.outside)

    def assert_untouched(self) -> None:
        """Nothing outside has changed."""
        self.assertEqual(tree_of(self.outside), self.before)

    def writers(self) -> list[Outcome]:
        """What every kind of command that opens the store to write says; the snapshot stays."""
        outcomes = [lamina("recover", self.store),
                    lamina("fork", self.store / "s", self.store / f"f{len(os.listdir(self.store))}"),
                    lamina("merge", self.store / "s", "--out", self.store / "m")]
        self.assert_untouched()
        self.done("verify", self.store / "s")
        return outcomes

    def test_an_area_that_is_a_link_is_refused(self) -> None:
        for area in AREAS:
            with self.subTest(area):
                place = self.store / area
                kept = self.directory / "kept"
                if place.exists():
                    place.rename(kept)
                place.symlink_to(self.outside)
                try:
                    for outcome in self.writers():
                        self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
                        self.assertIn(f"{area}' is a symbolic link", outcome.stderr)
                finally:
                    place.unlink()
                    if kept.exists():
                        kept.rename(place)

    def test_links_in_the_areas_are_not_followed(self) -> None:
        for area in (".tmp", ".pending", ".vms"):
            (self.store / area / SOME_ID).symlink_to(self.outside)
            (self.store / area / OTHER_ID).mkdir()
            (self.store / area / OTHER_ID / "in").symlink_to(self.outside)
            (self.store / area / OTHER_ID / "base").symlink_to(self.outside)
        self.writers()
        self.assertFalse((self.store / ".tmp" / OTHER_ID).exists())

    def test_removing_a_snapshot_removes_its_links_and_not_their_targets(self) -> None:
        (self.store / "s" / "link").symlink_to(self.outside)
        (self.store / "s" / "file").symlink_to(self.outside / "precious")
        self.writers()
        self.done("rm", self.store / "s")
        self.assert_untouched()
        self.assertEqual(os.listdir(self.store / ".tmp"), [])

    def test_a_mount_in_the_store_is_not_emptied(self) -> None:
        mounted = []
        for number, make in enumerate((lambda place: bind(self, self.outside, place / "mounted"),
                                       lambda place: mount(self, place, TMPFS))):
            place = self.store / ".tmp" / f"{SOME_ID[:-1]}{number}"
            place.mkdir()
            mounted.append(make(place))
        (mounted[1] / "file").write_text("mounted")
        for _ in range(2):
            # A directory that cannot be removed does not stop the command.
            outcome = lamina("recover", self.store)
            self.assertEqual(outcome.code, EXIT_DONE, str(outcome))
            for point in mounted:
                self.assertIn(f"{point.name}' is a mount point", outcome.stderr)
        self.assertEqual((mounted[1] / "file").read_text(), "mounted")
        self.assert_untouched()

    def test_a_record_that_names_another_directory_removes_nothing(self) -> None:
        for path in (str(self.outside), f"{self.outside}/", f"{self.outside}/lamina-x", "/",
                     f"lamina-{SOME_ID}"):
            with self.subTest(path):
                pin = self.store / ".vms" / "999999999-1"
                pin.mkdir()
                (pin / "vm.json").write_text(json.dumps({
                    "vm": 2, "belongs_to": identity_of(self.store), "pid": 999999999,
                    "start_time": 1, "boot_id": "0", "uid": 0,
                    "api_socket": "/none", "jail": "/", "snapshot": "s", "by_page_faults": False,
                    "needs_full": False, "since": "2026-01-01T00:00:00Z",
                    "jail_directory": path}))
                outcome = lamina("recover", self.store)
                self.assertIn("field 'jail_directory' is missing or wrong", outcome.stderr)
                self.assert_untouched()
                (pin / "vm.json").unlink()
                pin.rmdir()
                self.done("recover", self.store)


if __name__ == "__main__":
    main()
