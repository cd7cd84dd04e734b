"""The console in a real browser: each view, by keyboard, with hostile names, in dark and narrow.

Exits with 77 where Chromium or its driver is not installed. With LAMINA_SCREENSHOT the picture that
docs/console.png should be is written there.
"""

from __future__ import annotations

import json
import os
import random
import sys
import uuid
from pathlib import Path
from typing import Any

import axe
import picture
from browser import Browser, is_available
from console import Console
from console_stores import HOSTILE_PARENTS, make_line, multiply
from memory_files import GuestMemory, LaminaTest, main, random_page, write_sparse_full
from told_daemon import told_daemon

SKIPPED = 77
MANY = 3000
GIB = 1 << 30
PICTURE = Path(__file__).resolve().parents[2] / "docs" / "console.png"
MAX_DIFFERENT = 0.05  # of the picture

# What a page must have, whatever it shows: names for all that can be operated, headings in order,
# no position given by a positive tabindex, unique ids, cells with headers, nothing wider than the
# page, and text that can be read.
CHECK = """
const wrong = [];
const nameOf = (node) => (node.getAttribute('aria-label') || node.textContent || node.title
  || (node.labels && [...node.labels].map((label) => label.textContent).join(' ')) || '').trim();
for (const node of document.querySelectorAll('a, button, input, select, [role=img], [role=region]')) {
  if (!nameOf(node)) wrong.push(`no name: ${node.outerHTML.slice(0, 80)}`);
}
for (const node of document.querySelectorAll('input, select')) {
  if (!node.labels || node.labels.length === 0) wrong.push(`no label: ${node.id}`);
}
if (document.querySelectorAll('h1').length !== 1) wrong.push('not one h1');
let level = 0;
for (const node of document.querySelectorAll('h1, h2, h3')) {
  const here = Number(node.tagName[1]);
  if (here > level + 1) wrong.push(`heading skips a level: ${node.textContent}`);
  level = here;
}
const ids = [...document.querySelectorAll('[id]')].map((node) => node.id);
if (new Set(ids).size !== ids.length) wrong.push('an id twice');
for (const node of document.querySelectorAll('[tabindex]')) {
  if (node.tabIndex > 0) wrong.push('a positive tabindex');
}
for (const table of document.querySelectorAll('table')) {
  if (!table.caption || !table.querySelector('th[scope=col]')) wrong.push('a table without headers');
}
if (!document.documentElement.lang || !document.title) wrong.push('no language or title');
if (!document.querySelector('main') || !document.querySelector('nav, noscript')) wrong.push('no landmark');
if (document.documentElement.scrollWidth > window.innerWidth + 1) {
  wrong.push(`wider than the page: ${document.documentElement.scrollWidth} > ${window.innerWidth}`);
}
const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
const light = (color) => color.slice(0, 3).map((c) => c / 255)
  .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
  .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const backOf = (node) => {
  for (let at = node; at; at = at.parentElement) {
    const color = rgb(getComputedStyle(at).backgroundColor);
    if (color.length < 4 || color[3] > 0) return color;
  }
  return [255, 255, 255];
};
for (const node of document.querySelectorAll('p, a, th, td, dt, dd, h1, h2, li, label, button, span, caption')) {
  const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
  if (!own || node.closest('.skip')) continue;
  const a = light(rgb(getComputedStyle(node).color));
  const b = light(backOf(node));
  const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (contrast < 4.5) wrong.push(`contrast ${contrast.toFixed(2)}: ${node.textContent.slice(0, 40)}`);
}
return wrong;
"""

# Milliseconds from an action until the next frame is painted.
MEASURE = """
const done = arguments[arguments.length - 1];
const started = performance.now();
ACTION;
requestAnimationFrame(() => setTimeout(() => done(performance.now() - started), 0));
"""


class BrowserTest(LaminaTest):
    """A test with a browser and a console."""

    def start(self, *options: str) -> Console:
        """A console for the store of the test."""
        console = Console("--store", self.store, *options)
        self.addCleanup(console.end)
        return console

    def browser(self, **options: Any) -> Browser:
        """A browser that ends with the test."""
        browser = Browser(**options)
        self.addCleanup(browser.close)
        return browser

    def show(self, browser: Browser, url: str, view: str) -> None:
        """Opens a view and waits for it."""
        browser.open("about:blank")
        browser.open(url)
        browser.wait_for(
            f"const main = document.getElementById('main'); return main && main.dataset.shown === '{view}'",
            f"{url} shows {view}")

    def assert_good(self, browser: Browser) -> None:
        """The page is sound, and the browser has nothing to say about it."""
        self.assertEqual(browser.run(CHECK), [])
        self.assertEqual(browser.messages(), [])


class Views(BrowserTest):
    """Each view, with a store of three."""

    def setUp(self) -> None:
        """A store of three."""
        super().setUp()
        make_line(self, 3)

    def test_each_view_is_sound_in_light_dark_and_narrow(self) -> None:
        """Names, headings, contrast, width; no message of the browser, nothing that axe finds."""
        console = self.start()
        rules = axe.script()
        for dark in (False, True):
            browser = self.browser(dark=dark)
            for width in (1200, 360):
                browser.resize(width, 800)
                for view in ("store", "snapshot/web-3", "vms", "remote", "events"):
                    with self.subTest(view=view, dark=dark, width=width):
                        self.show(browser, f"{console.url}#/{view}", view.partition("/")[0])
                        self.assert_good(browser)
                        if rules:
                            self.assertEqual(axe.findings(browser, rules), [])

    def test_axe_finds_what_is_wrong(self) -> None:
        """A button without a name on the console's page: its policy does not keep axe out."""
        rules = axe.script()
        if not rules:
            self.skipTest("axe-core is not kept here, and npm cannot fetch it")
        browser = self.browser()
        self.show(browser, f"{self.start().url}#/store", "store")
        browser.run("document.getElementById('main').append(document.createElement('button'))")
        self.assertEqual([found[:2] for found in axe.findings(browser, rules)],
                         [["critical", "button-name"]])

    def test_why_a_pause_was_full_needs_no_daemon(self) -> None:
        """The record of the snapshot, with its phases; a hostile reason is shown as text."""
        path = self.store / "web-3" / "snapshot.json"
        facts = json.loads(path.read_text())
        facts["pause"] = {"kind": "full", "reason": "<b>no</b> base",
                          "phases": {"create_ms": 1500, "frozen_ms": 1600}}
        path.write_text(json.dumps(facts))
        browser = self.browser()
        self.show(browser, f"{self.start().url}#/snapshot/web-3", "snapshot")
        self.assertEqual(browser.run("return document.getElementById('kind').textContent"),
                         "This pause is a full memory file: <b>no</b> base.")
        self.assertEqual(browser.run("return document.querySelectorAll('.bars svg').length"), 1)
        self.assertIn("frozen for 1600 ms", browser.run("return document.body.textContent"))
        self.assert_good(browser)

    def test_the_questions_are_answered(self) -> None:
        """What takes the most space and why; whose the memory is; how it was paused; its resumes."""
        browser = self.browser()
        console = self.start()
        self.show(browser, console.url, "store")
        self.assertIn("files that only it has", browser.run(
            "return document.getElementById('why').textContent"))
        self.show(browser, f"{console.url}#/snapshot/web-3", "snapshot")
        self.assertRegex(browser.run("return document.getElementById('own').textContent"),
                         r"% of its memory \(.* of 1\.0 MiB\) is in layers that only it has")
        self.assertIn("ingested", browser.run("return document.getElementById('kind').textContent"))
        self.assertIn("laminad", browser.run("return document.getElementById('slow').textContent"))
        browser.wait_for("return document.body.textContent.includes('3 to 1')", "the plan of a merge")

    def test_the_map_goes_from_all_of_the_memory_to_a_block(self) -> None:
        """By keyboard: zoom, move, and compare a block with its checksum."""
        browser = self.browser()
        self.show(browser, f"{self.start().url}#/snapshot/web-3", "snapshot")
        readout = "return document.getElementById('readout').textContent"
        browser.run("document.getElementById('map').focus()")
        self.assertIn("0x0 to 0x1000 (4.0 KiB)", browser.run(readout))
        browser.press("Right")
        self.assertIn("0x1000 to 0x2000", browser.run(readout))
        browser.press("+", "Right", "Left", "Left")
        self.assertIn("0x0 to 0x1000 (4.0 KiB); begins in layer", browser.run(readout))
        self.assertIn("each block has a checksum", browser.run(readout))
        browser.press("Enter")
        browser.wait_for("return document.getElementById('checked').textContent.includes('is correct')",
                         "the block is compared")
        for mode in ("own or shared", "last dirty set", "checksums", "layers"):
            browser.run("const s = document.getElementById('map-mode'); s.value = arguments[0];"
                        "s.dispatchEvent(new Event('change'))", mode)
        self.assert_good(browser)

    def test_actions_need_the_name_and_then_remove(self) -> None:
        """By keyboard; nothing is offered without --allow-actions."""
        console = self.start("--allow-actions")
        browser = self.browser()
        victim = "web-2"
        self.assertTrue((self.store / victim).exists())
        facts = self.store / victim / "snapshot.json"
        shown = facts.read_text()
        self.show(browser, f"{console.url}#/snapshot/{victim}", "snapshot")
        self.assert_good(browser)
        disabled = "return document.getElementById('remove').disabled"
        self.assertTrue(browser.run(disabled))
        browser.click("#remove-name")
        browser.press(*victim[:-1])
        self.assertTrue(browser.run(disabled))
        browser.press(victim[-1])
        self.assertFalse(browser.run(disabled))
        # Replaced since the page was drawn: what was shown is not there to be removed.
        pause_id = json.loads(shown)["pause_id"]
        facts.write_text(shown.replace(pause_id, str(uuid.uuid4())))
        browser.press("Tab", "Enter")
        browser.wait_for("return document.getElementById('action-result').textContent.includes('not of pause')",
                         "the refusal")
        self.assertTrue((self.store / victim).exists())
        self.assertIn("404", " ".join(browser.messages()))  # the browser's own, of the refusal
        facts.write_text(shown)
        browser.press("Enter")
        browser.wait_for("return document.getElementById('action-result').textContent.includes('removed; ')",
                         "the removal")
        self.assertFalse((self.store / victim).exists())
        self.assertEqual(browser.messages(), [])
        self.show(browser, f"{self.start().url}#/snapshot/web-1", "snapshot")
        self.assertIsNone(browser.run("return document.getElementById('remove')"))

    def test_without_scripts_there_are_tables(self) -> None:
        """The browser goes to the plain page by itself."""
        browser = self.browser(scripts=False)
        browser.open(self.start().url)
        text = browser.wait_for(
            "return document.querySelector('table') && document.body.textContent", "the tables")
        self.assertIn("web-3", text)

    def test_the_report_shows_the_same_from_a_file(self) -> None:
        """Without a server: the store, and a snapshot's memory."""
        out = self.directory / "report.html"
        self.done("report", self.store, "-o", out)
        browser = self.browser()
        self.show(browser, out.as_uri(), "store")
        self.assert_good(browser)
        self.show(browser, f"{out.as_uri()}#/snapshot/web-2", "snapshot")
        self.assert_good(browser)
        self.assertIn("0x0 to", browser.run("return document.getElementById('readout').textContent"))


class Live(BrowserTest):
    """What a daemon tells: VMs, the queue of pushes, events; with hostile names."""

    METRICS = """\
lamina_sessions 1
lamina_fault_seconds_bucket{le="1e-06"} 3
lamina_fault_seconds_bucket{le="+Inf"} 5
lamina_fault_seconds_sum 0.5
lamina_fault_seconds_count 5
lamina_network_wait_seconds_bucket{le="0.032"} 2
lamina_network_wait_seconds_bucket{le="+Inf"} 2
lamina_network_wait_seconds_sum 0.05
lamina_network_wait_seconds_count 2
lamina_network_waiting_faults 7
lamina_vm_memory_bytes{vm="41-9"} 1048576
lamina_vm_filled_bytes_total{vm="41-9"} 524288
lamina_vm_populated_bytes_total{vm="41-9"} 0
lamina_vm_slow_faults_total{vm="41-9"} 2
lamina_vm_fault_seconds{vm="41-9",quantile="0.99"} 0.032
lamina_vm_fault_seconds_sum{vm="41-9"} 0.5
lamina_vm_fault_seconds_count{vm="41-9"} 5
lamina_vm_network_wait_seconds{vm="41-9",quantile="0.99"} 0.032
lamina_vm_network_wait_seconds_sum{vm="41-9"} 0.05
lamina_vm_network_wait_seconds_count{vm="41-9"} 2
lamina_vm_network_waiting_faults{vm="41-9"} 7
laminad_push_oldest_seconds 4000
"""

    def test_vms_pushes_and_events_are_shown_and_hostile_names_are_text(self) -> None:
        """Nothing in a name acts on the page, in any view."""
        make_line(self, 1)
        queue = [{"name": name, "state": "failed" if number % 2 else "waiting", "age_s": 60 * number,
                  "failed_attempts": number, "error": {"message": f"no bucket {name}"}}
                 for number, name in enumerate(HOSTILE_PARENTS)]
        sessions = [{"name": f"{41 + number}-9", "pid": 41 + number, "snapshot": name,
                     "by_page_faults": True, "since": "2026-01-01T00:00:00Z"}
                    for number, name in enumerate(HOSTILE_PARENTS)]
        events = [{"sequence": number + 1, "time": "2026-01-01T00:00:00Z", "event": "pause", "name": name,
                   "reason": name} for number, name in enumerate(HOSTILE_PARENTS)]
        api = self.directory / "laminad.sock"
        with told_daemon(api, {
                "/v1/health": json.dumps({"store": str(self.store), "status": "ok"}),
                "/v1/sessions": json.dumps({"sessions": sessions}),
                "/v1/push": json.dumps({"url": "s3://bucket/x", "names": "", "queue": queue}),
                "/v1/events": "".join(json.dumps(event) + "\n" for event in events),
                "/metrics": self.METRICS}):
            console = Console("--socket", api)
            self.addCleanup(console.end)
            browser = self.browser()
            rules = axe.script()
            cells = "return [...document.querySelectorAll('#main tbody tr')].map((row) => row.textContent)"
            texts = {}
            for view, word in (("vms", "process 41"), ("remote", "no bucket"), ("events", "reason=")):
                self.show(browser, f"{console.url}#/{view}", view)
                browser.wait_for(f"return document.getElementById('main').textContent.includes('{word}')",
                                 f"{view} shows what the daemon has told")
                texts[view] = browser.run("return document.getElementById('main').textContent")
                # The names are there as they are, with what acts on texts written out.
                self.assertIn("<img src=x onerror=alert(1)>", texts[view])
                self.assertIn("\\u{202e}gnp.exe\\u{2066}", texts[view])
                self.assertEqual([one for one in texts[view] if ord(one) < 32 or one in "\u202e\u2066"], [])
                self.assertEqual(browser.run("return document.querySelectorAll('#main img, #main script').length"), 0)
                self.assert_good(browser)
                if rules:
                    self.assertEqual(axe.findings(browser, rules), [])
            self.assertIn("6states are only here", texts["remote"])
            self.assertIn("3cannot be pushed", texts["remote"])
            self.assertIn("4000 sthe oldest waits", texts["remote"])
            self.assertIn("2 faults waited for a bucket, 25 ms each; 7 wait now.", texts["vms"])
            self.show(browser, f"{console.url}#/vms", "vms")
            browser.wait_for("return document.getElementById('main').textContent.includes('process 41')", "VMs")
            row = browser.run(cells)[0]
            self.assertIn("2, 7 now25 ms32 ms50.0 %", row)

    def test_growth_is_shown(self) -> None:
        """The own bytes of the snapshots, by the time of their pauses."""
        for number, snapshot in enumerate(make_line(self, 3)):
            path = snapshot / "snapshot.json"
            facts = json.loads(path.read_text())
            path.write_text(json.dumps({**facts, "created": f"2026-01-0{number + 1}T00:00:00Z"}))
        browser = self.browser()
        self.show(browser, self.start().url, "store")
        caption = browser.run("const chart = document.querySelector('svg[aria-label^=\"Growth of own bytes\"]');"
                              "return chart && chart.closest('figure').textContent")
        self.assertRegex(caption or "", r"2026-01-01 .* to 2026-01-03 .*; at most \d.* KiB")


class Thousands(BrowserTest):
    """A store of 3,000 snapshots, with hostile texts."""

    def test_thousands_are_searched_and_walked_by_keyboard(self) -> None:
        """The graph, the search, the order, and the keys; hostile texts stay texts."""
        make_line(self, 3)
        multiply(self, MANY)
        console = self.start()
        browser = self.browser()
        self.show(browser, console.url, "store")
        self.assert_good(browser)
        self.assertIn(f"{MANY + 4} snapshots", browser.run(
            "return document.getElementById('found').textContent"))
        self.assertLess(browser.run("return document.querySelectorAll('.rows tbody tr').length"), 100)
        browser.run("document.querySelector('.rows a').focus()")
        browser.press("Down", "Down")
        name = "return document.activeElement.textContent"
        first = browser.run("return document.querySelectorAll('.rows a')[2].textContent")
        self.assertEqual(browser.run(name), first)
        browser.press("End")
        self.assertEqual(browser.run("return document.activeElement.closest('tr').ariaRowIndex"),
                         str(MANY + 5))
        browser.press("Home", "Enter")
        browser.wait_for("return document.getElementById('main').dataset.shown === 'snapshot'",
                         "Enter opens the snapshot")
        self.show(browser, console.url, "store")
        search = ("const s = document.getElementById('search'); s.value = arguments[0];"
                  "s.dispatchEvent(new Event('input'));"
                  "return document.getElementById('found').textContent")
        self.assertIn("10 snapshots", browser.run(search, "box-0123-"))
        self.assertIn(f"{MANY // 60} snapshots", browser.run(search, "onerror=alert"))
        self.assertIn("0 snapshots", browser.run(search, "no such name"))
        browser.run(search, "")
        browser.run("const s = document.getElementById('sort'); s.value = 'own';"
                    "s.dispatchEvent(new Event('change'))")
        self.assertEqual(browser.run("return document.querySelector('.rows a').textContent"), "web-3")
        self.assert_good(browser)
        took = {what: browser.run_async(MEASURE.replace("ACTION", action)) for what, action in {
            "search": "document.getElementById('search').value = 'box-01';"
                      "document.getElementById('search').dispatchEvent(new Event('input'))",
            "order": "document.getElementById('sort').value = 'name';"
                     "document.getElementById('sort').dispatchEvent(new Event('change'))"}.items()}
        paint = browser.run("return performance.getEntriesByType('paint').map((e) => e.startTime)")
        shown = browser.run("return document.getElementById('main').dataset.ms")
        print(f"with {MANY} snapshots: first paint {paint}, store shown in {shown} ms, "
              f"interactions {took}", file=sys.stderr)

    def test_a_large_memory_is_drawn_at_once(self) -> None:
        """64 GiB with thousands of extents; what it takes is printed."""
        memory = GuestMemory(64 * GIB)
        for _ in range(4000):
            memory.write(self.rng.randrange(memory.page_count), random_page(self.rng))
        file = write_sparse_full(self.directory / "large", memory)
        self.done("ingest", file, "--out", self.store / "large")
        browser = self.browser()
        self.show(browser, f"{self.start().url}#/snapshot/large", "snapshot")
        readout = "return document.getElementById('readout').textContent"
        self.assertIn("0x0 to", browser.run(readout))
        took = [browser.run_async(MEASURE.replace("ACTION", f"document.getElementById('{button}').click()"))
                for button in ("zoom-in", "zoom-in", "zoom-out", "zoom-all")]
        for _ in range(16):
            browser.run("document.getElementById('zoom-in').click()")
        self.assertIn("(4.0 KiB)", browser.run(readout))
        self.assert_good(browser)
        print(f"64 GiB: shown in {browser.run('return document.getElementById(`main`).dataset.ms')} ms, "
              f"zooms {took} ms", file=sys.stderr)


class Screenshot(BrowserTest):
    """The picture of the documents, of a sandbox of six pauses."""

    def setUp(self) -> None:
        """The same memory each time."""
        super().setUp()
        self.rng = random.Random(21)
        make_line(self, 6, 12 << 20, writes=300)

    def taken(self, dark: bool) -> bytes:
        """How the page of the youngest snapshot looks."""
        browser = self.browser(width=1000, dark=dark)
        browser.resize(1000, 760)
        self.show(browser, f"{self.start().url}#/snapshot/web-6", "snapshot")
        browser.run_async("const done = arguments[arguments.length - 1];"
                          "requestAnimationFrame(() => requestAnimationFrame(() => done(true)))")
        return browser.screenshot()

    def test_the_page_looks_like_the_picture_of_the_documents(self) -> None:
        """With tolerance. In dark colours it looks different, so a difference would be seen."""
        taken = self.taken(dark=False)
        file = os.environ.get("LAMINA_SCREENSHOT")
        if file:
            Path(file).write_bytes(taken)
        kept = PICTURE.read_bytes()
        self.assertLess(picture.difference(taken, kept), MAX_DIFFERENT,
                        f"'{PICTURE}' is not how the page looks; LAMINA_SCREENSHOT=FILE writes a new one")
        self.assertGreater(picture.difference(self.taken(dark=True), kept), 0.5)


if __name__ == "__main__":
    if not is_available():
        print("skipped: chromium or chromedriver is not installed")
        sys.exit(SKIPPED)
    main()
