#!/usr/bin/env python3
"""remote prune aborts multipart uploads that nobody will complete.

Environment: LAMINA is the binary.
"""

from __future__ import annotations

import os
import sys
import uuid
from typing import Any

sys.dont_write_bytecode = True  # the source folder stays clean

from bucket_server import CREDENTIALS, BucketServer
from memory_files import PAGE_BYTES, main, random_memory
from whole_snapshots import WholeSnapshotTest

TOP = "/bucket/lazy/"
LONG_AGO = "2020-01-01T00:00:00.000Z"
IN_FUTURE = "2099-01-01T00:00:00.000Z"


class Uploads(WholeSnapshotTest):
    """A bucket with a snapshot."""

    def setUp(self) -> None:
        super().setUp()
        self.bucket = BucketServer()
        self.addCleanup(self.bucket.close)
        os.environ.update(CREDENTIALS)
        snapshot = self.ingest_full(random_memory(self.rng, 64 * PAGE_BYTES), "a")
        self.done("remote", "push", self.bucket.url, snapshot)

    def add(self, begun: str, push: str | None = None, key: str | None = None) -> tuple[str, str]:
        """An upload of a push."""
        key = key or f"v1/layers/{uuid.uuid4()}.{push or uuid.uuid4()}-1"
        upload = (TOP + key, f"id{len(self.bucket.uploads)}")
        self.bucket.uploads[upload] = begun
        return upload

    def prune(self, *options: str) -> dict[str, Any]:
        """Runs it; its report."""
        return self.done("remote", "prune", self.bucket.url, *options, "--json").json

    def test_those_without_a_pin_are_aborted(self) -> None:
        old = self.add(LONG_AGO)
        untimed = self.add("")
        young = self.add(IN_FUTURE)
        foreign = self.add(LONG_AGO, key="v1/layers/something")
        outside = ("/bucket/other/v1/layers/x", "id")
        self.bucket.uploads[outside] = LONG_AGO
        before = dict(self.bucket.uploads)
        self.assertEqual(self.prune("--dry-run")["aborted_uploads"], 2)
        self.assertEqual(self.bucket.uploads, before)
        self.assertEqual(self.prune()["aborted_uploads"], 2)
        self.assertEqual(set(self.bucket.uploads), {young, foreign, outside})
        self.assertEqual(set(before) - set(self.bucket.uploads), {old, untimed})
        self.assertEqual(self.prune()["aborted_uploads"], 0)
        self.assertEqual(self.done("remote", "verify", self.bucket.url, "--data").code, 0)

    def test_those_of_a_push_that_runs_stay(self) -> None:
        pins: list[Any] = []

        class Objects(dict):
            """Remembers a pin."""

            def __setitem__(self, key: str, value: bytes) -> None:
                super().__setitem__(key, value)
                if "/v1/pins/" in key and not pins:
                    pins.extend((key, value))

        self.bucket.objects = Objects(self.bucket.objects)
        self.done("remote", "push", self.bucket.url,
                  self.ingest_full(random_memory(self.rng, 64 * PAGE_BYTES), "b"))
        key, pin = pins
        push = key.rpartition("/")[2]
        upload = self.add(LONG_AGO, push)
        self.bucket.objects[key] = pin
        self.bucket.modified = IN_FUTURE  # else the pin is expired
        self.assertEqual(self.prune()["aborted_uploads"], 0)
        self.assertIn(upload, self.bucket.uploads)
        self.bucket.modified = LONG_AGO
        self.assertEqual(self.prune()["aborted_uploads"], 1)
        self.assertEqual(self.bucket.uploads, {})

    def test_a_list_in_pages(self) -> None:
        self.bucket.uploads_in_page = 2
        for _ in range(5):
            self.add(LONG_AGO)
        self.assertEqual(self.prune()["aborted_uploads"], 5)
        self.assertEqual(self.bucket.uploads, {})

    def test_a_server_that_does_not_list_them(self) -> None:
        self.bucket.lists_uploads = False
        report = self.prune()
        self.assertEqual(report["aborted_uploads"], 0)
        self.assertIn("uploads that nobody completes are not looked for", " ".join(report["notes"]))

    def test_credentials_that_may_not_abort_them(self) -> None:
        self.bucket.aborts_uploads = False
        self.add(LONG_AGO)
        self.add(LONG_AGO)
        report = self.prune()
        self.assertEqual(report["aborted_uploads"], 0)
        self.assertIn("2 of 2 uploads that nobody completes could not be aborted",
                      " ".join(report["notes"]))


if __name__ == "__main__":
    main()
