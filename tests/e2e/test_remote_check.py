"""lamina remote: object stores are tried."""

from __future__ import annotations

from memory_files import (EXIT_DONE, EXIT_FAILED, EXIT_NOT_FOUND, EXIT_USAGE, LaminaTest, lamina,
                          main)

EXIT_INTERRUPTED = 130


class RemoteCheck(LaminaTest):
    """The verb 'remote check'."""

    def test_a_directory_can_be_used_and_is_left_empty(self) -> None:
        outcome = self.done("remote", "check", f"file://{self.store}", "--json")
        self.assertEqual(outcome.json["message_type"], "remote_check")
        self.assertTrue(outcome.json["usable"])
        self.assertGreaterEqual(len(outcome.json["checks"]), 12)
        self.assertTrue(all(check["passed"] for check in outcome.json["checks"]))
        self.assertEqual(outcome.json["left_behind"], [])
        self.assertEqual([path for path in self.store.rglob("*") if path.is_file()], [])
        self.assertIn("can be used", self.done("remote", "check", f"file://{self.store}").stdout)

    def test_an_unreachable_store_cannot_be_used(self) -> None:
        environment = "env AWS_ACCESS_KEY_ID=ACCESSKEY AWS_SECRET_ACCESS_KEY=SECRETKEY".split()
        outcome = lamina("remote", "check", "s3://bucket?endpoint=http://127.0.0.1:1", "--json",
                         prefix=environment)
        self.assertEqual(outcome.code, EXIT_FAILED, str(outcome))
        self.assertFalse(outcome.json["usable"])
        self.assertEqual(len(outcome.json["checks"]), 1)
        self.assertNotIn("SECRETKEY", str(outcome))

    def test_urls_are_checked(self) -> None:
        for url in ("bucket", "s3://", "s3://b/../c", "s3://AK:HUSHED@bucket", "file://host/x",
                    "s3://bucket?colour=red"):
            with self.subTest(url=url):
                outcome = self.refused(EXIT_USAGE, "remote", "check", url)
                self.assertNotIn("HUSHED", outcome.stderr)
        self.refused(EXIT_USAGE, "remote", "chekc", f"file://{self.store}")
        self.refused(EXIT_NOT_FOUND, "remote", "check", f"file://{self.directory}/none",
                     names=["mkdir -p"])

    def test_help_fits_a_terminal(self) -> None:
        outcome = self.done("remote", "check", "--help")
        self.assertIn(f"{EXIT_DONE} the store can be used", outcome.stdout)
        self.assertIn(str(EXIT_INTERRUPTED), outcome.stdout)
        for line in outcome.stdout.splitlines():
            self.assertLessEqual(len(line), 80, line)


if __name__ == "__main__":
    main()
