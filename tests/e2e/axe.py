"""axe-core, which looks for what keeps people with disabilities from using a page.

Its release is fetched by npm once, and kept where LAMINA_NPM_CACHE says. It is not part of lamina.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from browser import Browser

RELEASE = "axe-core-4.14.1"
SHA512 = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
FETCH_LIMIT_S = 120

# What WCAG 2.2 AA asks, and axe's own good practice. Of what it finds: the rule, its weight, where.
RUN = """
const done = arguments[arguments.length - 1];
axe.run(document, { resultTypes: ['violations'] }).then((result) => done(result.violations.map(
  (found) => [found.impact, found.id, found.help, found.nodes.slice(0, 5).map((node) => node.html.slice(0, 120))])),
  (error) => done([['failed', String(error), '', []]]));
"""


def fetched() -> bytes:
    """The release file; empty if it is not kept and cannot be fetched."""
    cache = Path(os.environ.get("LAMINA_NPM_CACHE") or tempfile.gettempdir())
    kept = cache / f"{RELEASE}.tgz"
    if not kept.exists():
        if shutil.which("npm") is None:
            return b""
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as work:
            name, _, version = RELEASE.rpartition("-")
            try:
                done = subprocess.run(["npm", "pack", "--silent", f"{name}@{version}"], cwd=work,
                                      check=False, capture_output=True, timeout=FETCH_LIMIT_S)
            except subprocess.TimeoutExpired:
                return b""
            if done.returncode != 0:
                return b""
            os.replace(Path(work, kept.name), kept)  # others may do the same
    release = kept.read_bytes()
    if base64.b64encode(hashlib.sha512(release).digest()).decode() != SHA512:
        raise AssertionError(f"'{kept}' is not the release that is expected; remove it")
    return release


def script() -> str:
    """axe's script; empty as for fetched()."""
    release = fetched()
    if not release:
        return ""
    with tarfile.open(fileobj=io.BytesIO(release)) as archive:
        member = archive.extractfile("package/axe.min.js")
        assert member is not None
        return member.read().decode()


def findings(browser: Browser, axe: str) -> list[list[Any]]:
    """What axe finds on the page: serious and critical."""
    # In the window's scope, not in that of a function.
    if not browser.run("return typeof window.axe === 'object'"):
        browser.evaluate(axe)
    return [found for found in browser.run_async(RUN) if found[0] not in ("minor", "moderate")]
