"""examples/object-cache in an nginx on this machine."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path

from servers import START_LIMIT_S, Unavailable, free_ports

CONFIGURATION = Path(__file__).resolve().parents[2] / "examples/object-cache/lamina-cache.conf"

# What docs/remote.md shows, with paths and ports of this run.
AROUND = """
daemon off;
worker_processes 2;
pid {work}/nginx.pid;
error_log {work}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {work}/body;
  proxy_temp_path {work}/proxy;
  fastcgi_temp_path {work}/fastcgi;
  uwsgi_temp_path {work}/uwsgi;
  scgi_temp_path {work}/scgi;
  proxy_cache_path {work}/cache keys_zone=lamina:16m max_size=4g inactive=30d use_temp_path=off;
  upstream bucket {{ server 127.0.0.1:{origin}; keepalive 32; }}
  server {{
    listen 127.0.0.1:{port};
    allow 127.0.0.1;
    deny all;
    include {configuration};
  }}
}}
"""


class SharedCache:
    """Listens at `port`, and asks 127.0.0.1:origin. Leaving it ends it."""

    def __init__(self, work: Path, origin: int) -> None:
        """Raises Unavailable."""
        program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/bin")
        if program is None:
            raise Unavailable("there is no nginx (Debian: nginx-light)")
        work.mkdir()
        work.chmod(0o755)
        self.port = free_ports(1)[0]
        self._work = work
        path = work / "nginx.conf"
        user = "user root;\n" if Path("/proc/self").owner() == "root" else ""
        path.write_text(user + AROUND.format(work=work, origin=origin, port=self.port,
                                             configuration=CONFIGURATION))
        with (work / "out").open("wb") as out:
            self._process = subprocess.Popen([program, "-p", str(work), "-c", str(path), "-e",
                                              str(work / "error.log")],
                                             stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> SharedCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends it."""
        self._process.terminate()
        self._process.wait()

    def _wait(self) -> None:
        end = time.monotonic() + START_LIMIT_S
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"nginx does not start: {self.said()}")
            time.sleep(0.02)

    def said(self) -> str:
        """Its errors."""
        return "".join((self._work / name).read_text()[-2000:] for name in ("out", "error.log")
                       if (self._work / name).exists())
