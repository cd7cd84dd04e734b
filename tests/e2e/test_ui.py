"""lamina ui and lamina report, without a browser: what is answered, and to whom."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import queue
import re
import socket
import struct
import threading
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

from console import Console
from console_stores import HOSTILE_PARENTS, make_line, multiply
from memory_files import (EXIT_BUSY, EXIT_DONE, EXIT_NOT_FOUND, EXIT_USAGE, LaminaTest, PAGE_BYTES,
                          flip, layers_of, main)
from serving import TIMEOUT_S, wait_until

MAX_PAGE_BYTES = 200 << 10


class ConsoleTest(LaminaTest):
    """A test with a console."""

    def start(self, *options: str | Path) -> Console:
        """Starts one, by default for the store of the test."""
        console = Console(*(options or ("--store", self.store)))
        self.addCleanup(console.end)
        return console


class Pages(ConsoleTest):
    """What it answers."""

    def test_everything_the_page_needs_is_in_the_program_and_small(self) -> None:
        """The page and all it names come from the console, with a strict policy."""
        make_line(self, 1)
        console = self.start()
        page = console.request("")
        self.assertEqual(page.status, 200)
        names = re.findall(r'(?:src|href)="([^"#]+)"', page.body)
        styles = re.search(r'<style nonce="([\w-]+)">', page.body)
        assert styles is not None
        self.assertIn(f"'nonce-{styles[1]}'", page.headers["Content-Security-Policy"])
        self.assertIn("page.js", names)
        size = len(page.body)
        for name in names:
            if name.startswith("data:"):
                continue
            self.assertNotIn(":", name)
            asset = console.request(name)
            self.assertEqual(asset.status, 200, name)
            size += len(asset.body)
        self.assertLess(size, MAX_PAGE_BYTES)
        for answer in (page, console.request("api/store"), console.request("no-such-page")):
            policy = answer.headers["Content-Security-Policy"]
            self.assertIn("default-src 'none'", policy)
            self.assertNotIn("unsafe", policy)
            self.assertEqual(answer.headers["X-Content-Type-Options"], "nosniff")
            self.assertEqual(answer.headers["Referrer-Policy"], "no-referrer")
            self.assertEqual(answer.headers["Cache-Control"], "no-store")

    def test_the_store_is_what_ls_and_du_say(self) -> None:
        """The figures are those of the other commands, and nothing is written."""
        make_line(self, 3)
        with self.unchanged():
            console = self.start()
            data = console.request("api/store").json
            rows = [dict(zip(data["columns"], row)) for row in data["rows"]]
            listed = self.done("ls", self.store, "--json", "--tree").json
            used = self.done("du", self.store, "--json").json
            for row, one, use in zip(rows, listed["snapshots"], used["snapshots"], strict=True):
                self.assertEqual(row["name"], one["name"])
                self.assertEqual(row["own_bytes"], one["own_bytes"])
                self.assertEqual(row["dead_bytes"], use["dead_bytes"])
                self.assertEqual(row["pause_id"], one["pause_id"])
            self.assertEqual(data["totals"], listed["totals"])
            self.assertEqual([[row["depth"], data["rows"][row["index"]][0]] for row in
                              [{"depth": depth, "index": index} for depth, index, _ in data["lineage"]]],
                             [[row["depth"], row["name"]] for row in listed["tree"]])
            console.request("api/snapshot?name=web-3")
            console.request("api/merge?name=web-3")
            console.request("api/block?name=web-3&offset=0")
            self.assertEqual(console.stop(), EXIT_DONE)

    def test_a_snapshot_has_its_extents_and_what_a_merge_would_give(self) -> None:
        """The binary extents are those of inspect; the plans are those of compact."""
        snapshot = make_line(self, 3)[-1]
        console = self.start()
        data = console.request("api/snapshot?name=web-3").json
        known = self.done("inspect", snapshot, "--json", "--extents").json
        ids = [None, *[layer["build_id"] for layer in known["layers"]]]
        extents = list(struct.iter_unpack("<IHI", base64.b64decode(data["extents"])))
        self.assertEqual([(blocks * PAGE_BYTES, ids[slot], place * PAGE_BYTES)
                          for blocks, slot, place in extents],
                         [(one["length"], one["build_id"], one["storage_offset"])
                          for one in known["extents"]])
        self.assertEqual(data["coarse_blocks"], 1)
        self.assertEqual(data["info"]["layers"], known["layers"])
        self.assertEqual([one["name"] for one in data["line"]], ["web-3", "web-2", "web-1"])
        plans = console.request("api/merge?name=web-3").json
        self.assertEqual([plan["outcome"] for plan in plans], ["nothing", "planned"])
        self.assertEqual(plans[1]["layers_after"], 1)

    def test_a_block_is_compared_with_its_checksum(self) -> None:
        """A changed byte is found where it is."""
        snapshot = make_line(self, 1)[0]
        console = self.start()
        self.assertEqual(console.request("api/block?name=web-1&offset=4095").json,
                         {"state": "correct", "is_zero": False})
        flip(layers_of(snapshot)[0])
        states = {console.request(f"api/block?name=web-1&offset={page * PAGE_BYTES}").json["state"]
                  for page in range(256)}
        self.assertEqual(states, {"correct", "corrupt"})
        for offset in ("", "-1", "1x", str(1 << 20), str(1 << 70)):
            self.assertEqual(console.request(f"api/block?name=web-1&offset={offset}").status, 400)

    def test_names_lead_to_snapshots_of_the_store_only(self) -> None:
        """No name leads out of the store or into lamina's own directories."""
        make_line(self, 1)
        (self.directory / "other").mkdir()
        console = self.start()
        for name in ("", ".", "..", "../store/web-1", ".tmp", "%2e%2e", "web-1/", "/etc", "x" * 300):
            for api in ("snapshot", "merge", "block"):
                page = console.request(f"api/{api}?name={name}&offset=0")
                self.assertEqual(page.status, 400, (api, name, page.body))
        self.assertEqual(console.request("api/snapshot?name=absent").status, 404)
        self.assertEqual(console.request("api/other").status, 404)
        self.assertEqual(console.request("plain/other").status, 404)
        self.assertEqual(console.request("../../etc/passwd").status, 404)

    def test_tables_without_a_script_have_the_same(self) -> None:
        """The plain pages list the snapshots and one snapshot's layers, with hostile texts as text."""
        make_line(self, 2)
        multiply(self, 60)
        console = self.start()
        self.assertIn("url=plain", console.request("").body)
        page = console.request("plain")
        self.assertEqual(page.headers["Content-Type"], "text/html; charset=utf-8")
        self.assertEqual(page.body.count('scope="row"'), 63)
        self.assertNotIn("<script", page.body)
        self.assertNotIn("<img", page.body)
        for text in HOSTILE_PARENTS:
            if set(text) & set("<\u202e\x1b\""):
                self.assertNotIn(text, page.body)
        self.assertIn("&lt;img src=x onerror=alert(1)&gt;", page.body)
        one = console.request("plain/snapshot?name=web-2").body
        self.assertEqual(one.count("<caption>"), 3)
        for layer in self.done("inspect", self.store / "web-2", "--json").json["layers"]:
            self.assertIn(layer["build_id"], one)

    def test_new_snapshots_appear(self) -> None:
        """A listing is not kept for long."""
        make_line(self, 1)
        console = self.start()
        self.assertEqual(len(console.request("api/store").json["rows"]), 1)
        multiply(self, 1)
        wait_until(lambda: len(console.request("api/store").json["rows"]) == 3, "it is listed")


class Access(ConsoleTest):
    """Whom it answers."""

    def setUp(self) -> None:
        """A console with a store."""
        super().setUp()
        make_line(self, 1)
        self.console = self.start()

    def status(self, path: str = "api/store", **options: Any) -> int:
        """The status of one request."""
        return self.console.request(path, **options).status

    def test_only_its_own_page_is_answered(self) -> None:
        """Another host, another origin and another site are refused, also with the token."""
        port = self.console.host.rpartition(":")[2]
        self.assertEqual(self.status(), 200)
        self.assertEqual(self.status(headers={"Host": f"localhost:{port}"}), 200)
        self.assertEqual(self.status(headers={"Origin": f"http://{self.console.host}",
                                              "Sec-Fetch-Site": "same-origin"}), 200)
        for host in ("", "evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.2:{port}"):
            self.assertEqual(self.status(headers={"Host": host}), 403, host)
        for origin in ("null", "http://evil.example", f"https://{self.console.host}"):
            self.assertEqual(self.status(headers={"Origin": origin}), 403, origin)
        for site in ("cross-site", "same-site"):
            self.assertEqual(self.status(headers={"Sec-Fetch-Site": site}), 403, site)

    def test_the_token_is_needed_for_everything(self) -> None:
        """Nothing, not even a script, is answered without it; each console has its own."""
        other = self.start()
        self.assertNotEqual(other.token, self.console.token)
        self.assertGreaterEqual(len(self.console.token), 32)
        for token in ("/", "", "//", "/x/", other.token, self.console.token.upper(),
                      self.console.token[:-2] + "/"):
            for path in ("", "page.css", "api/store", "api/live", "plain"):
                page = self.console.request(path, token=token)
                self.assertEqual(page.status, 403, (token, path))
                self.assertNotIn("web-1", page.body)

    def test_nothing_writes(self) -> None:
        """Only GET and HEAD."""
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            page = self.console.request("api/store", method=method)
            self.assertEqual((page.status, page.headers["Allow"]), (405, "GET, HEAD"), method)
        self.assertEqual(self.status(method="HEAD"), 200)

    def test_it_listens_on_loopback_only(self) -> None:
        """Other addresses are refused before anything listens."""
        for address in ("0.0.0.0:0", "192.0.2.1:80", "[::]:0", "127.0.0.1", "127.0.0.1:", ":80",
                        "127.0.0.1:x", "127.0.0.1:99999", "127.0.0.1:80 ", "example.com:80"):
            self.refused(EXIT_USAGE, "ui", "--store", self.store, "--listen", address,
                         names=[address])
        self.refused(EXIT_BUSY, "ui", "--store", self.store, "--listen", self.console.host)

    def test_one_source_is_needed(self) -> None:
        """A store or a daemon."""
        self.refused(EXIT_USAGE, "ui")
        self.refused(EXIT_USAGE, "ui", "--store", self.store, "--socket", self.directory / "s")
        self.refused(EXIT_NOT_FOUND, "ui", "--store", self.directory / "absent")
        self.refused(EXIT_NOT_FOUND, "ui", "--socket", self.directory / "absent")


class Actions(ConsoleTest):
    """--allow-actions, and who may act."""

    def setUp(self) -> None:
        super().setUp()
        make_line(self, 3)
        self.names = sorted(path.name for path in self.store.iterdir()
                            if not path.name.startswith("."))
        self.console = self.start("--store", self.store, "--allow-actions")
        found = re.search(r'name="lamina-actions" content="([0-9a-f]{64})"',
                          self.console.request("").body)
        assert found is not None
        self.good = {"Origin": f"http://{self.console.host}", "Lamina-Action-Token": found[1]}

    def act(self, action: str, name: str, headers: dict[str, str] | None = None,
            pause: str = "") -> Any:
        """A POST, by default as the page sends it."""
        return self.console.request(f"api/act/{action}?name={quote(name, safe='')}&pause={pause}", "POST",
                                    headers=self.good if headers is None else headers)

    def test_a_snapshot_is_removed_and_layers_are_merged(self) -> None:
        last = self.names[-1]
        merged = self.act("merge", last)
        self.assertEqual(merged.status, 200, merged.body)
        self.assertTrue(merged.json["message"])
        pause = json.loads((self.store / self.names[0] / "snapshot.json").read_text())["pause_id"]
        for other, status in ((str(uuid.uuid4()), 404), ("nonsense", 400)):
            self.assertEqual(self.act("remove", self.names[0], pause=other).status, status, other)
        self.assertTrue((self.store / self.names[0]).exists())
        removed = self.act("remove", self.names[0], pause=pause)
        self.assertEqual(removed.status, 200, removed.body)
        self.assertIn("removed; ", removed.json["message"])
        self.assertFalse((self.store / self.names[0]).exists())
        data = self.console.request("api/store").json
        listed = {row[data["columns"].index("name")] for row in data["rows"]}
        self.assertEqual(listed, set(self.names[1:]))
        self.done("verify", self.store / last)

    def test_only_what_the_store_lists_is_acted_upon(self) -> None:
        outside = self.directory / "outside"
        outside.mkdir()
        with self.unchanged():
            for name in ("", "nobody", "../outside", ".", ".tmp", f"./{self.names[0]}",
                         str(self.store / self.names[0])):
                for action in ("remove", "merge"):
                    answer = self.act(action, name)
                    self.assertEqual(answer.status, 404, answer.body)
                    self.assertIn("message", answer.json["error"])
            self.assertEqual(self.act("format", self.names[0]).status, 404)
            self.assertEqual(self.console.request("api/store", "POST", headers=self.good).status, 404)
        self.assertTrue(outside.exists())

    def test_other_pages_cannot_act(self) -> None:
        token = self.good["Lamina-Action-Token"]
        with self.unchanged():
            for wrong in ({}, {"Origin": self.good["Origin"]}, {"Lamina-Action-Token": token},
                          {**self.good, "Lamina-Action-Token": token[:-1]},
                          {**self.good, "Lamina-Action-Token": self.console.token.strip("/")},
                          {**self.good, "Origin": "http://evil.example"},
                          {**self.good, "Origin": "null"},
                          {**self.good, "Sec-Fetch-Site": "cross-site"},
                          {**self.good, "Host": "evil.example"}):
                self.assertEqual(self.act("remove", self.names[0], wrong).status, 403, wrong)
            answer = self.console.request(f"api/act/remove?name={self.names[0]}", "POST",
                                          token=f"/{token}/", headers=self.good)
            self.assertEqual(answer.status, 403, "the token for actions is not the secret of the URL")
            # A link does nothing.
            self.assertEqual(self.console.request(f"api/act/remove?name={self.names[0]}").status, 404)

    def test_without_the_option_nothing_is_offered(self) -> None:
        console = self.start()
        self.assertNotIn("lamina-actions", console.request("").body)
        answer = console.request(f"api/act/remove?name={self.names[0]}", "POST",
                                 headers={**self.good, "Origin": f"http://{console.host}"})
        self.assertEqual(answer.status, 405)
        self.assertEqual(answer.headers["Allow"], "GET, HEAD")


class HangingDaemon(ConsoleTest):
    """A daemon that answers only where its store is."""

    def setUp(self) -> None:
        super().setUp()
        make_line(self, 2)
        self.asked: queue.SimpleQueue[str] = queue.SimpleQueue()
        path = str(self.directory / "daemon.sock")
        listening = socket.socket(socket.AF_UNIX)
        self.addCleanup(listening.close)
        listening.bind(path)
        listening.listen()
        self.addCleanup(listening.shutdown, socket.SHUT_RDWR)
        threading.Thread(target=self.listen, args=(listening,), daemon=True).start()
        self.console = self.start("--socket", path, "--allow-actions")
        found = re.search(r'name="lamina-actions" content="(\w+)"', self.console.request("").body)
        assert found is not None
        self.headers = {"Origin": f"http://{self.console.host}", "Lamina-Action-Token": found[1]}

    def listen(self, listening: socket.socket) -> None:
        """Answers the first question, of its health, and holds all later connections."""
        held = []
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                target = connection.recv(1 << 16).decode().split(" ")[1]
                if target == "/v1/health" and not held:
                    body = json.dumps({"store": str(self.store)})
                    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
                    connection.sendall((head + body).encode())
                    connection.close()
                    continue
                held.append(connection)
                self.asked.put(target)

    def send(self, *request: Any, **options: Any) -> None:
        """Sends a request, and returns once the daemon was asked."""
        def ask() -> None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                self.console.request(*request, **options)
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        self.addCleanup(thread.join)
        self.asked.get(timeout=TIMEOUT_S)

    def test_the_console_ends_while_an_action_waits(self) -> None:
        name = next(path.name for path in self.store.iterdir() if not path.name.startswith("."))
        self.send(f"api/act/remove?name={name}", "POST", headers=self.headers)
        self.assertEqual(self.console.request("api/store").status, 200)
        self.assertEqual(self.console.stop(), 0)

    def test_waits_for_the_daemon_hold_up_nothing_else(self) -> None:
        for _ in range(4):
            self.send("api/live")
        self.assertEqual(self.console.request("api/store").status, 200)
        self.assertEqual(self.console.stop(), 0)


class Reports(LaminaTest):
    """The file of lamina report."""

    def report(self, *arguments: str | Path) -> tuple[str, Any]:
        """The file's text, and its data."""
        out = self.directory / "report.html"
        self.done("report", *arguments, "-o", out)
        text = out.read_text()
        found = re.search(r'<script type="application/json" id="report">(.*?)</script>', text, re.S)
        assert found is not None
        return text, json.loads(found.group(1))

    def test_a_store_is_one_file_that_needs_nothing_else(self) -> None:
        """No address, one nonce, hostile texts only as data."""
        make_line(self, 3)
        multiply(self, 30)
        with self.unchanged(self.store):
            text, data = self.report(self.store, "--snapshots", "5")
        self.assertEqual(len(data["store"]["rows"]), 34)
        self.assertEqual(len(data["snapshots"]), 5)
        self.assertIn("web-1", data["snapshots"])
        self.assertEqual(re.findall(r'(?:src|href)="(?!data:|#)', text), [])
        nonces = set(re.findall(r'<(?:script|style) nonce="([^"]+)"', text))
        self.assertEqual(len(nonces), 1)
        self.assertIn(f"script-src 'nonce-{nonces.pop()}'", text)
        self.assertNotIn("<img", text)
        self.assertEqual(text.count("</script>"), text.count("<script"))
        self.assertEqual(text.split("<noscript>")[1].split("</noscript>")[0].count('<h1>'), 6)

    def test_a_snapshot_is_a_report_too(self) -> None:
        """With its memory, and without the rest of the store."""
        snapshot = make_line(self, 2)[-1]
        _, data = self.report(snapshot)
        self.assertIsNone(data["store"])
        self.assertEqual(list(data["snapshots"]), ["web-2"])
        self.assertEqual(len(data["snapshots"]["web-2"]["merge"]), 2)

    def test_a_file_is_replaced_whole_or_not_at_all(self) -> None:
        """What cannot be reported or written leaves the file as it was."""
        make_line(self, 1)
        out = self.directory / "report.html"
        out.write_text("old")
        self.refused(EXIT_NOT_FOUND, "report", self.directory / "absent", "-o", out)
        self.assertEqual(out.read_text(), "old")
        self.refused(EXIT_NOT_FOUND, "report", self.store, "-o", self.directory / "absent" / "x")
        self.done("report", self.store, "-o", out)
        self.assertTrue(out.read_text().startswith("<!doctype html>"))
        self.assertEqual([path.name for path in self.directory.glob("report.html*")], ["report.html"])


if __name__ == "__main__":
    main()
