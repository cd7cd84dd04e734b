#!/usr/bin/env python3
"""Runs the conformance suite of object stores over a real server.

Exit 77: the server cannot be had here.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from servers import ACCESS_KEY, SECRET_KEY, SERVERS, Unavailable, running


def run_tests(tests: Path, url: str, arguments: list[str]) -> int:
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith("AWS_") and not name.lower().endswith("_proxy")}
    environment |= {"LAMINA_TEST_OBJECT_STORE": url, "AWS_ACCESS_KEY_ID": ACCESS_KEY,
                    "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    return subprocess.run([str(tests), "--gtest_filter=*remote*:RemoteTest*", *arguments],
                          env=environment, check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", choices=sorted(SERVERS), required=True)
    parser.add_argument("--tls", choices=["no", "yes", "both"], default="both")
    parser.add_argument("--tests", type=Path, required=True, help="the program object_store_tests")
    parser.add_argument("--cache", type=Path, required=True, help="where downloads are kept")
    parser.add_argument("arguments", nargs="*", help="for the program")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    code = 0
    for tls in {"no": [False], "yes": [True], "both": [False, True]}[options.tls]:
        with tempfile.TemporaryDirectory(prefix="lamina-server-") as work:
            try:
                with running(options.server, options.cache, Path(work), tls) as server:
                    print(f"{options.server} at {server.url}", flush=True)
                    code = run_tests(options.tests.resolve(), server.url,
                                     options.arguments) or code
            except Unavailable as reason:
                print(f"skipped: {reason}")
                return 77
    return code


if __name__ == "__main__":
    sys.exit(main())
