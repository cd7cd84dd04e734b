"""lamina ui and lamina top with a daemon: VMs, events, the queue of pushes."""

from __future__ import annotations

import contextlib
import re
from typing import Any

from console import Console
from daemon import Daemon, DaemonTest
from memory_files import main
from serving import wait_until


class LiveTest(DaemonTest):
    """A daemon with a VM that was paused and resumed."""

    def busy(self, *options: str) -> Daemon:
        """The daemon."""
        daemon = self.start(*options)
        vm = self.fresh()
        self.paused(daemon, vm, "box")
        self.resumed(daemon, "box", mode="uffd")
        return daemon

    def console(self, *options: object) -> Console:
        """A console that ends with the test."""
        console = Console(*map(str, options))
        self.addCleanup(console.end)
        return console

    @staticmethod
    def events_of(console: Console) -> list[dict[str, Any]]:
        """State and events once the VM is served: a slow page server's metrics are left out."""
        def served() -> list[dict[str, Any]]:
            events = console.events()
            return events if "lamina_sessions 1" in (events[0]["data"]["metrics"] or "") else []
        return wait_until(served, "the VM is served")

    def test_state_and_events_are_those_of_the_daemon(self) -> None:
        """Metrics, sessions, queue; events once, then only new ones."""
        daemon = self.busy("--push", f"file://{self.directory / 'bucket'}")
        for source in (("--store", self.store), ("--socket", daemon.api_socket)):
            console = self.console(*source)
            events = self.events_of(console)
            state = events[0]
            self.assertEqual(state["kind"], "state")
            self.assertTrue(state["data"]["daemon"])
            self.assertEqual(state["data"]["errors"], [])
            self.assertEqual(len(state["data"]["sessions"]), 1)
            self.assertEqual(state["data"]["sessions"][0]["snapshot"], "box")
            self.assertRegex(state["data"]["metrics"], r"lamina_faults_total\{kind=\"data\"\} \d")
            self.assertIn("laminad_push_queue", state["data"]["metrics"])
            self.assertTrue(state["data"]["push"]["url"].startswith("file://"))
            seen = {event["data"]["event"]: event["data"] for event in events[1:]}
            self.assertGreater(seen["pause"]["phases"]["create_ms"], 0)
            self.assertEqual(seen["pause"]["kind"], "full")
            self.assertTrue(seen["pause"]["reason"])
            self.assertIn("load_ms", seen["resume"])
            last = int(events[-1]["id"])
            self.assertEqual([event["kind"] for event in console.events(last)
                              if event["kind"] == "event" and int(event["id"]) <= last], [])

    def test_a_daemon_is_asked_if_it_keeps_the_same_directory(self) -> None:
        """Another path of the store is the store; a name that begins alike is not."""
        daemon = self.start()
        link = self.directory / "link"
        link.symlink_to(self.store)
        other = self.store.with_name(self.store.name + "2")
        (other / ".vms").mkdir(parents=True)
        (other / ".vms" / "laminad.sock").symlink_to(daemon.api_socket)
        for store, is_its_own in ((self.store, True), (link, True), (other, False)):
            state = self.console("--store", store).events()[0]["data"]
            self.assertEqual(state["daemon"], is_its_own, store)

    def test_it_goes_on_when_the_daemon_has_ended(self) -> None:
        """The store is still shown; what is not known is null, and why."""
        daemon = self.busy()
        console = self.console("--socket", daemon.api_socket)
        daemon.stop()
        state = console.events()[0]["data"]
        self.assertIsNone(state["metrics"])
        self.assertNotEqual(state["errors"], [])
        self.assertEqual(console.request("api/store").status, 200)
        # Another console finds no daemon, and asks the page server.
        state = self.events_of(self.console("--store", self.store))[0]["data"]
        self.assertFalse(state["daemon"])
        self.assertEqual(state["errors"], [])
        self.assertEqual(len(state["sessions"]), 1)

    def test_each_vm_has_figures_of_its_own(self) -> None:
        """Their sum is that of the page server; they end with the VM."""
        daemon = self.busy()
        second, _ = self.resumed(daemon, "box", mode="uffd")
        console = self.console("--store", self.store)

        def figures(name: str) -> dict[str, float]:
            text = console.events()[0]["data"]["metrics"]
            return {vm: float(value) for vm, value in re.findall(
                rf'^{name}{{vm="(\d+-\d+)"}} (\S+)$', text, re.MULTILINE)}

        state = console.events()[0]["data"]
        names = {pin["name"] for pin in state["sessions"]}
        self.assertEqual(len(names), 2)
        self.assertEqual(set(figures("lamina_vm_memory_bytes")), names)
        self.assertEqual(set(figures("lamina_vm_slow_faults_total")), names)
        self.assertEqual(len(set(figures("lamina_vm_memory_bytes").values())), 1)

        def are_whole() -> bool:
            """Guests may fault between the sum and its parts."""
            text = console.events()[0]["data"]["metrics"]
            total = re.search(r"^lamina_fault_seconds_count (\d+)$", text, re.MULTILINE)
            of_vms = re.findall(r"^lamina_vm_fault_seconds_count\{.*\} (\d+)$", text, re.MULTILINE)
            return total is not None and sum(map(int, of_vms)) == int(total[1])

        wait_until(are_whole, "the VMs' faults to be those of the page server")
        text = console.events()[0]["data"]["metrics"]
        self.assertRegex(text, r'(?m)^lamina_vm_fault_seconds\{vm="[\d-]+",quantile="0.99"\} \S+$')
        second.end()
        wait_until(lambda: len(figures("lamina_vm_memory_bytes")) == 1, "the second VM to be gone")

    def test_actions_are_the_daemons(self) -> None:
        """A removal and a merge are events of the daemon; its errors are told."""
        daemon = self.busy()
        console = self.console("--store", self.store, "--allow-actions")
        found = re.search(r'name="lamina-actions" content="(\w+)"', console.request("").body)
        assert found is not None
        headers = {"Origin": f"http://{console.host}", "Lamina-Action-Token": found[1]}
        merged = console.request("api/act/merge?name=box", "POST", headers=headers)
        self.assertEqual((merged.status, merged.json),
                         (200, {"message": "the merge policy has nothing to merge"}))
        removed = console.request("api/act/remove?name=box", "POST", headers=headers)
        self.assertEqual(removed.status, 200, removed.body)
        self.assertIn("removed; ", removed.json["message"])
        self.assertFalse((self.store / "box").exists())
        wait_until(lambda: "delete" in {event["data"]["event"] for event in console.events()[1:]},
                   "the daemon's event of the removal")
        daemon.stop()
        self.assertEqual(console.request("api/act/remove?name=box", "POST", headers=headers).status, 404)

    def test_top_shows_the_same_figures(self) -> None:
        """Once where it is not a terminal; plain text."""
        daemon = self.busy()
        for source in (("--store", self.store), ("--socket", daemon.api_socket)):
            text = self.done("top", *source).stdout
            self.assertIn("1 running, 1 served by page faults", text)
            self.assertRegex(text, r"\nbox +\d")
            self.assertRegex(text, r"\n +VM +SNAPSHOT +FAULTS/s +MEAN us")
            # Once there is nothing to compare with: no rate.
            self.assertRegex(text, r"\n *\d+ +box +- +(\d+\.\d|-) +(\d+|-) +\d+ +\d+ +(\d+\.\d|-)"
                             r" +\d+\.\d % +\d+\.\d %")
            self.assertIn("pushes   0 wait", text)
            self.assertIsNone(re.search(r"[^\n\x20-\x7e]", text.replace("█", "")), text)

    def test_the_view_of_vms_and_events_in_a_browser(self) -> None:
        """What the page makes of it: the slowest part of a resume, why a pause was full."""
        from browser import Browser, is_available
        if not is_available():
            self.skipTest("chromium or chromedriver is not installed")
        self.busy()
        console = self.console("--store", self.store)
        with contextlib.closing(Browser()) as browser:
            browser.open(f"{console.url}#/vms")
            browser.wait_for("return document.body.textContent.includes('by page faults')", "the VM")
            browser.wait_for("return document.body.textContent.includes('up to')", "the fault times")
            # The rate needs two looks.
            browser.wait_for("return [...document.querySelectorAll('tr')].some((row) => row.cells.length === 13"
                             " && row.cells[1].textContent === 'box' && /^\\d+$/.test(row.cells[3].textContent)"
                             " && /%$/.test(row.cells[10].textContent))", "the VM's own figures")
            browser.open(f"{console.url}#/events")
            browser.wait_for("return document.body.textContent.includes('load_ms')", "the events")
            browser.open(f"{console.url}#/snapshot/box")
            browser.wait_for("return document.body.textContent.includes('The slowest part of the last')",
                             "the resume")
            text = browser.run("return document.body.innerText")
            self.assertIn("first pause here", text)
            self.assertEqual(browser.messages(), [])


if __name__ == "__main__":
    main()
