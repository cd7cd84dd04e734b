#!/usr/bin/env python3
"""Programs that embed the library, with the stand-in for Firecracker: examples/embed/sandbox.cc, and
examples/c/sandbox.c, which does the same over the C interface.

Environment: LAMINA, FAKE_FIRECRACKER, EMBED_SANDBOX and C_SANDBOX are the binaries.
"""

from __future__ import annotations

import os
import subprocess
import sys

sys.dont_write_bytecode = True  # the source folder stays clean

from firecracker import Firecracker
from memory_files import EXIT_DONE, EXIT_FAILED, EXIT_USAGE, main
from sandbox import SandboxTest


class EmbedTest(SandboxTest):
    """The example, from its command line."""

    program = "EMBED_SANDBOX"

    def sandbox(self, code: int, *arguments: str) -> str:
        """Runs the example, which must exit with `code`; returns its output and its errors."""
        # It starts the page server by its name.
        path = f"{os.path.dirname(os.path.abspath(os.environ['LAMINA']))}:{os.environ['PATH']}"
        outcome = subprocess.run([os.environ[self.program], *arguments], text=True,
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, check=False,
                                 env={**os.environ, "PATH": path})
        self.assertEqual(outcome.returncode, code, outcome.stdout)
        return outcome.stdout

    def command(self, vm: Firecracker, verb: str, code: int = EXIT_DONE) -> str:
        """A command about a VM and the snapshot web."""
        return self.sandbox(code, str(self.store), "web", str(vm.api_socket), verb)

    def test_a_vm_goes_on_from_its_last_pause(self) -> None:
        vm = self.fresh()
        vm.tell("run 300 1")
        self.assertIn("web: full, ", self.command(vm, "checkpoint"))
        vm.tell("run 50 2")
        self.assertIn("web: diff, ", self.command(vm, "pause"))
        vm.wait()
        resumed = self.waiting()
        self.assertIn(f"process {resumed.pid} runs on", self.command(resumed, "resume"))
        self.check(resumed)

    def test_checkpoints_are_merged(self) -> None:
        vm = self.fresh()
        said = ""
        for seed in range(9):  # more than the policy leaves
            vm.tell(f"run 20 {seed}")
            said = self.command(vm, "checkpoint")
        self.assertRegex(said, r"web: \d layers, then [1-7]\n")
        self.check(vm)

    def test_a_refused_create_is_told_and_leaves_nothing(self) -> None:
        vm = self.fresh("--fail", "create-refuse")
        said = self.command(vm, "pause", EXIT_FAILED)
        self.assertNotIn("the state", said)
        self.assertEqual(vm.state(), "Running")
        self.assert_nothing_left()

    def test_arguments_are_checked(self) -> None:
        self.assertIn("usage: sandbox", self.sandbox(EXIT_USAGE, str(self.store)))


class CTest(EmbedTest):
    """The same in C."""

    program = "C_SANDBOX"

    def test_the_program_is_called_while_the_vm_is_frozen(self) -> None:
        vm = self.fresh()
        self.assertIn("web is frozen\n", self.command(vm, "checkpoint"))
        self.check(vm)

    def test_a_vm_is_forked_while_it_runs(self) -> None:
        vm = self.fresh()
        vm.tell("run 100 1")
        self.command(vm, "checkpoint")
        vm.tell("run 50 2")
        clone = self.waiting()
        said = self.sandbox(EXIT_DONE, str(self.store), "web", str(vm.api_socket), "fork",
                            str(clone.api_socket))
        self.assertIn(f"process {clone.pid} runs as clone 1\n", said)
        self.assertIn("web: diff\n", said)
        self.check(vm)
        self.check(clone)
        self.assertIn("usage: sandbox", self.sandbox(EXIT_USAGE, str(self.store), "web",
                                                     str(vm.api_socket), "fork"))


if __name__ == "__main__":
    main()
