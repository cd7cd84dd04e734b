#!/usr/bin/env python3
"""Pause, resume and recover, killed or refused a call at every step: nothing is lost.

A first run under strace lists the calls with which a command changes the disk and talks to
Firecracker. Then the sandbox lives on, and in each round the command is killed at another of them,
or that call fails. At every step, after `lamina recover` (itself killed somewhere, then
given again):

* every snapshot is whole, and the name holds the old pause or the new one;
* nothing half done is left;
* the VM runs, is paused or is gone as its pause asked for, and runs where that was not
  acknowledged;
* the VM can be paused, and after a resume every byte of the guest is right: no acknowledged diff
  has been lost.

Environment: LAMINA and FAKE_FIRECRACKER are the binaries. TORTURE=all takes every call and every
failure (minutes) instead of a sample. SEED repeats the sample of an earlier run.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

sys.dont_write_bytecode = True  # the source folder stays clean

from lives import (ANSWER_OF_CREATE, CrashTest, Life, Scenario, check_pause, check_resume,
                   cut_short, is_alive, leave_acknowledged, leave_acknowledged_of_ended_vm)
from memory_files import EXIT_DONE, Outcome, main
from mounts import TMPFS, mount


class LifecycleCrash(CrashTest):
    """One command, at every step."""

    def test_a_first_pause_survives_every_fault(self) -> None:
        def prepare(life: Life) -> None:
            life.start()
            shutil.rmtree(life.store)
            life.store.mkdir()  # and so becomes a store
            life.before = None
        self.torture(Scenario(prepare, lambda life: life.pause_words("--after", "stay"),
                              check_pause("stay"), every=2, modes=("file",)))

    def test_a_checkpoint_by_a_diff_survives_every_fault(self) -> None:
        self.torture(Scenario(Life.renew, lambda life: life.pause_words("--after", "resume"),
                              check_pause("resume")))

    def test_a_checkpoint_in_memory_survives_every_fault(self) -> None:
        self.torture(Scenario(Life.renew, lambda life: life.pause_words("--after", "resume"),
                              check_pause("resume"), every=2, in_memory=True))

    def test_a_checkpoint_in_memory_with_hook_and_attached_file_survives_every_fault(self) -> None:
        self.torture(Scenario(
            Life.renew,
            lambda life: life.pause_words("--after", "resume", "--frozen-hook", "true", "--attach",
                                          life.disk),
            check_pause("resume", lacks_files=True), every=4, in_memory=True))

    def test_a_checkpoint_in_memory_survives_a_power_failure_at_every_step(self) -> None:
        def check(life: Life, outcome: Outcome) -> None:
            now = life.pause_id()
            assert now is not None, "the name is gone"
            if outcome.code == EXIT_DONE:
                assert now == outcome.json["pause_id"], f"reports success: {outcome}"
        self.torture(Scenario(Life.renew, lambda life: life.pause_words("--after", "resume"),
                              check, every=2, kills_only=True, in_memory=True, loses_power=True))

    def test_a_diff_after_which_the_vm_is_stopped_survives_every_fault(self) -> None:
        def prepare(life: Life) -> None:
            if not is_alive(life):
                life.start()
                life.done(*life.pause_words("--after", "stop"))
                life.resume("uffd")
            life.renew()
        self.torture(Scenario(prepare, lambda life: life.pause_words("--after", "stop"),
                              check_pause("stop"), every=2))

    def test_a_diff_with_hook_and_attached_file_survives_every_fault(self) -> None:
        self.torture(Scenario(
            Life.renew,
            lambda life: life.pause_words("--after", "resume", "--frozen-hook", "true", "--attach",
                                          life.disk),
            check_pause("resume", lacks_files=True), every=3))

    def test_a_diff_of_a_paused_vm_survives_every_fault(self) -> None:
        def prepare(life: Life) -> None:
            life.renew()
            life.vm.pause()
        self.torture(Scenario(prepare, lambda life: life.pause_words("--after", "stay"),
                              check_pause("stay", was_running=False), every=4))

    def test_a_resume_by_page_faults_survives_every_fault(self) -> None:
        self.torture(Scenario(self.prepare_resume,
                              lambda life: life.resume_words("--mode", "uffd"), check_resume,
                              every=2))

    def test_a_resume_by_file_survives_every_fault(self) -> None:
        self.torture(Scenario(self.prepare_resume,
                              lambda life: life.resume_words("--mode", "file"), check_resume,
                              every=3))

    def jailed(self, prepare: Callable[[Life], None], elsewhere: bool = False) \
            -> Callable[[Life], None]:
        """The same, and the VM is in a jail; `elsewhere`: on another file system."""
        def prepare_in_jail(life: Life) -> None:
            if life.jails is None:
                life.jails = life.directory / "jails"
                life.jails.mkdir()
                if elsewhere:
                    life.jails = mount(self, life.jails, TMPFS)
            prepare(life)
        if os.geteuid() != 0:
            self.skipTest("a jail needs root")
        return prepare_in_jail

    def test_a_checkpoint_in_a_jail_survives_every_fault(self) -> None:
        for elsewhere in (False, True):
            self.torture(Scenario(self.jailed(Life.renew, elsewhere),
                                  lambda life: life.pause_words("--after", "resume"),
                                  check_pause("resume"), every=7, kills_only=True))

    def test_a_resume_in_a_jail_survives_every_fault(self) -> None:
        for elsewhere in (False, True):
            self.torture(Scenario(self.jailed(self.prepare_resume, elsewhere),
                                  lambda life: life.resume_words("--mode", "uffd"), check_resume,
                                  every=8, kills_only=True))

    def test_the_recovery_of_an_acknowledged_pause_in_a_jail_survives_every_fault(self) -> None:
        def check(life: Life, outcome: Outcome) -> None:
            assert life.pause_id() != life.before, "an acknowledged pause is lost"
            assert is_alive(life) and life.vm.state() == "Running"
        self.torture(Scenario(self.jailed(leave_acknowledged, True),
                              lambda life: ["recover", life.store], check, every=8,
                              kills_only=True))

    def test_the_recovery_of_an_acknowledged_pause_survives_every_fault(self) -> None:
        def check(life: Life, outcome: Outcome) -> None:
            assert life.pause_id() != life.before, "an acknowledged pause is lost"
            assert is_alive(life) and life.vm.state() == "Running"
        self.torture(Scenario(leave_acknowledged, lambda life: ["recover", life.store], check,
                              every=3))

    def test_the_recovery_of_a_pause_in_memory_survives_every_fault(self) -> None:
        def check(life: Life, outcome: Outcome) -> None:
            assert life.pause_id() != life.before, "an answered pause is lost"
            assert is_alive(life) and life.vm.state() == "Running"
        self.torture(Scenario(leave_acknowledged, lambda life: ["recover", life.store], check,
                              every=4, in_memory=True))

    def test_the_recovery_of_an_ended_vms_pause_in_memory_survives_every_fault(self) -> None:
        def check(life: Life, outcome: Outcome) -> None:
            assert life.pause_id() != life.before, "an answered pause is lost"
            assert not [name for name in os.listdir(life.store / ".vms") if name[0].isdigit()]
        self.torture(Scenario(leave_acknowledged_of_ended_vm,
                              lambda life: ["recover", life.store], check, every=4,
                              in_memory=True))

    def test_an_unreadable_file_in_memory_is_not_taken_for_a_missing_one(self) -> None:
        def check(life: Life, outcome: Outcome) -> None:
            assert life.pause_id() != life.before, "an answered pause is lost"
        self.torture(Scenario(leave_acknowledged_of_ended_vm,
                              lambda life: ["recover", life.store], check, every=3, reads=True,
                              in_memory=True))

    def test_the_recovery_of_an_ended_vms_pause_survives_every_fault(self) -> None:
        def check(life: Life, outcome: Outcome) -> None:
            assert life.pause_id() != life.before, "an acknowledged pause is lost"
            assert not [name for name in os.listdir(life.store / ".vms") if name[0].isdigit()]
        self.torture(Scenario(leave_acknowledged_of_ended_vm,
                              lambda life: ["recover", life.store], check, every=3))

    def test_an_unreadable_record_is_not_taken_for_a_missing_one(self) -> None:
        def prepare_unacknowledged(life: Life) -> None:
            life.renew()
            cut_short(life, ANSWER_OF_CREATE, "--after", "resume")

        def check(life: Life, outcome: Outcome) -> None:
            assert life.pause_id() != life.before, "an acknowledged pause is lost"
            check_running(life, outcome)

        def check_running(life: Life, outcome: Outcome) -> None:
            assert is_alive(life) and life.vm.state() == "Running"

        def recover(life: Life) -> list[str | Path]:
            return ["recover", life.store]

        def pause(life: Life) -> list[str | Path]:
            return life.pause_words("--after", "resume")

        for how, command, holds in ((leave_acknowledged, recover, check),
                                    (leave_acknowledged, pause, check),
                                    (prepare_unacknowledged, recover, check_running)):
            self.torture(Scenario(how, command, holds, every=2, reads=True))

    def test_an_ended_vm_keeps_what_its_queued_pause_counts_from(self) -> None:
        def check(life: Life, outcome: Outcome) -> None:
            assert life.pause_id() != life.before, "an acknowledged pause is lost"
        self.torture(Scenario(leave_acknowledged_of_ended_vm,
                              lambda life: ["recover", life.store], check, every=3, reads=True))

    def test_the_recovery_of_an_unacknowledged_pause_survives_every_fault(self) -> None:
        def prepare(life: Life) -> None:
            life.renew()
            cut_short(life, ANSWER_OF_CREATE, "--after", "stop")

        def check(life: Life, outcome: Outcome) -> None:
            assert life.pause_id() == life.before
            assert is_alive(life) and life.vm.state() == "Running"
        self.torture(Scenario(prepare, lambda life: ["recover", life.store], check))


if __name__ == "__main__":
    main()
