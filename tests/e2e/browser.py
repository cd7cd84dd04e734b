"""A headless Chromium, driven over the WebDriver protocol with Python's standard library."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from serving import wait_until

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
TIMEOUT_S = 120

# Keys of the WebDriver protocol.
KEYS = {"Tab": "\ue004", "Enter": "\ue007", "Shift": "\ue008", "End": "\ue010", "Home": "\ue011",
        "Left": "\ue012", "Up": "\ue013", "Right": "\ue014", "Down": "\ue015"}


def is_available() -> bool:
    """Whether Chromium and its driver are installed."""
    return shutil.which("chromium") is not None and shutil.which("chromedriver") is not None


class Browser:
    """One browser with one window. Its profile is removed with it."""

    def __init__(self, width: int = 1200, height: int = 900, dark: bool = False,
                 scripts: bool = True) -> None:
        self._profile = tempfile.mkdtemp(prefix="lamina-browser-")
        self._log = Path(self._profile, "driver.log")
        with self._log.open("wb") as log:
            self._driver = subprocess.Popen(["chromedriver", "--port=0"], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        try:
            wait_until(lambda: self._port() is not None, "the driver listens")
            arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                         "--disable-background-networking", "--disable-component-update",
                         "--no-first-run", "--force-device-scale-factor=1",
                         f"--window-size={width},{height}", f"--user-data-dir={self._profile}/user"]
            if dark:
                arguments.append("--blink-settings=preferredColorScheme=0")
            if not scripts:
                arguments.append("--blink-settings=scriptEnabled=false")
            session = self._send("POST", "/session", {"capabilities": {"alwaysMatch": {
                "browserName": "chrome", "goog:chromeOptions": {"args": arguments},
                "goog:loggingPrefs": {"browser": "ALL"}}}})
            self._session = f"/session/{session['sessionId']}"
        except BaseException:
            self.close()
            raise

    def _port(self) -> int | None:
        for word in self._log.read_text(errors="replace").split("on port ")[1:]:
            digits = word.split(".")[0].strip()
            if digits.isdigit() and digits != "0":
                return int(digits)
        return None

    def _send(self, method: str, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port() or 0, timeout=TIMEOUT_S)
        with contextlib.closing(connection):
            connection.request(method, path, None if method == "GET" else json.dumps(body or {}))
            answer = json.loads(connection.getresponse().read())["value"]
        if isinstance(answer, dict) and "error" in answer:
            raise AssertionError(f"{answer['error']}: {answer['message']}")
        return answer

    def close(self) -> None:
        """Ends the browser and its driver."""
        with contextlib.suppress(Exception):
            self._send("DELETE", self._session)
        self._driver.terminate()
        self._driver.wait()
        shutil.rmtree(self._profile, ignore_errors=True)

    def open(self, url: str) -> None:
        """Loads a page, and waits until it is loaded."""
        self._send("POST", self._session + "/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """Runs a function body in the page; its result."""
        return self._send("POST", self._session + "/execute/sync",
                          {"script": script, "args": list(arguments)})

    def run_async(self, script: str, *arguments: Any) -> Any:
        """The same; the last argument of the function takes the result."""
        return self._send("POST", self._session + "/execute/async",
                          {"script": script, "args": list(arguments)})

    def evaluate(self, script: str) -> None:
        """Runs a script in the page's window, whatever the page's policy allows."""
        answer = self._send("POST", self._session + "/goog/cdp/execute", {
            "cmd": "Runtime.evaluate", "params": {"expression": script}})
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"])

    def wait_for(self, script: str, what: str) -> Any:
        """Waits until a function body returns something true; that."""
        found: list[Any] = []

        def is_true() -> bool:
            found[:] = [self.run(script)]
            return bool(found[0])
        wait_until(is_true, what)
        return found[0]

    def press(self, *keys: str) -> None:
        """Presses keys, one after the other: names of KEYS, or characters."""
        actions: list[dict[str, str]] = []
        for key in keys:
            value = KEYS.get(key, key)
            actions += [{"type": "keyDown", "value": value}, {"type": "keyUp", "value": value}]
        self._send("POST", self._session + "/actions",
                   {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def click(self, selector: str) -> None:
        """Clicks the first element that matches."""
        element = self._send("POST", self._session + "/element",
                             {"using": "css selector", "value": selector})[ELEMENT]
        self._send("POST", f"{self._session}/element/{element}/click")

    def messages(self) -> list[str]:
        """What the console of the browser has got since the last call."""
        lines = self._send("POST", self._session + "/se/log", {"type": "browser"})
        return [f"{line['level']}: {line['message']}" for line in lines]

    def screenshot(self) -> bytes:
        """The window as PNG."""
        return base64.b64decode(self._send("GET", self._session + "/screenshot"))

    def resize(self, width: int, height: int) -> None:
        """Sets the size of the page, also one that is narrower than a window can be."""
        self._send("POST", self._session + "/goog/cdp/execute", {
            "cmd": "Emulation.setDeviceMetricsOverride",
            "params": {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}})
