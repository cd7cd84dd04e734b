"""The machine that figures come from, and who else used it meanwhile."""

from __future__ import annotations

import os
import resource
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

QUIET_LOAD = 0.5
QUIET_SHARE = 0.05
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
BALLOONS = Path("/sys/bus/virtio/drivers/virtio_balloon")
REPORTED_ORDER = Path("/sys/module/page_reporting/parameters/page_reporting_order")
# VIRTIO_BALLOON_F_REPORTING, Virtual I/O Device (VIRTIO) 1.2, 5.5.3.
REPORTING_BIT = 5


@dataclass(frozen=True)
class CpuTimes:
    """CPU seconds of all CPUs since the machine started."""

    busy: float
    idle: float
    stolen: float

    @staticmethod
    def parse(stat: str) -> "CpuTimes":
        """From the text of /proc/stat."""
        fields = stat.splitlines()[0].split()[1:9]
        user, nice, system, idle, waiting, irq, softirq, stolen = (
            int(field) / TICKS_PER_SECOND for field in fields)
        return CpuTimes(user + nice + system + irq + softirq, idle + waiting, stolen)

    @staticmethod
    def now() -> "CpuTimes":
        """Of this machine."""
        return CpuTimes.parse(Path("/proc/stat").read_text())


@dataclass(frozen=True)
class Noise:
    """What else went on while something was measured. Shares are of all CPUs' time."""

    others_share: float
    stolen_share: float
    seconds: float

    def warnings(self) -> list[str]:
        """What a reader of the figures should know."""
        found = []
        if self.others_share > QUIET_SHARE:
            found.append(f"others used {self.others_share:.0%} of all CPU time")
        if self.stolen_share > QUIET_SHARE:
            found.append(f"the host took {self.stolen_share:.0%} of all CPU time")
        return found


class NoiseWatch:
    """Looks at the CPUs from its making until stop(). What this process's children used (those that
    have ended and were waited for) is its own; kernel threads and daemons count as others."""

    def __init__(self) -> None:
        self._times = CpuTimes.now()
        self._own = self._own_seconds()
        self._start = time.monotonic()

    @staticmethod
    def _own_seconds() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        this = resource.getrusage(resource.RUSAGE_SELF)
        return children.ru_utime + children.ru_stime + this.ru_utime + this.ru_stime

    def stop(self) -> Noise:
        """The noise since."""
        return noise_between(self._times, CpuTimes.now(), self._own_seconds() - self._own,
                             time.monotonic() - self._start)


def noise_between(before: CpuTimes, after: CpuTimes, own_seconds: float, seconds: float) -> Noise:
    """From two readings and what the measurement itself used between them."""
    busy = after.busy - before.busy
    stolen = after.stolen - before.stolen
    total = max(busy + stolen + after.idle - before.idle, 1e-9)
    return Noise(max(0.0, busy - own_seconds) / total, stolen / total, seconds)


def load_warnings(load: float) -> list[str]:
    """Of the load average before the first measurement; later it is the measurements' own."""
    return [f"load average {load:.2f} at the start"] if load > QUIET_LOAD else []


@dataclass(frozen=True)
class Machine:
    """What figures depend on besides the program."""

    cpu: str
    cpus: int
    memory_gib: float
    kernel: str
    file_system: str
    governor: str
    # Of free pages that the kernel reports to the host, the smallest order; None: it does not.
    reported_order: int | None = None

    def warnings(self) -> list[str]:
        """What a reader of the figures should know."""
        if self.reported_order is None:
            return []
        return ["free pages are given back to the host: memory that is used first must be had from "
                "it again, which may take several times as long as the rest; raising "
                f"{REPORTED_ORDER} makes that rarer"]

    def as_json(self) -> dict[str, Any]:
        """For the results."""
        return asdict(self)

    def __str__(self) -> str:
        return (f"{self.cpus} x {self.cpu}, {self.memory_gib:.0f} GiB, Linux {self.kernel}, "
                f"{self.file_system}, CPU frequency governor {self.governor}")


def field_of(path: str, name: str) -> str:
    """The value of a "name: value" line of a file in /proc."""
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"


def file_system_of(directory: Path) -> str:
    """The type of the mount that a directory is on."""
    best = ("", "unknown")
    path = str(directory.resolve())
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount, kind = line.split()[:3]
        inside = path == mount or path.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best[0]):
            best = (mount, kind)
    return best[1]


def reported_order(features: list[str], smallest: int, buddies: str) -> int | None:
    """Machine.reported_order, from the features of all balloons, the module's parameter, and
    /proc/buddyinfo, which has a column for each order."""
    orders = max((len(line.split()) - 4 for line in buddies.splitlines()), default=0)
    reporting = any(bits[REPORTING_BIT:REPORTING_BIT + 1] == "1" for bits in features)
    return smallest if reporting and smallest < orders else None


def reported_order_here() -> int | None:
    """Of this machine."""
    if not REPORTED_ORDER.exists():
        return None
    features = [path.read_text() for path in BALLOONS.glob("*/features")]
    return reported_order(features, int(REPORTED_ORDER.read_text()),
                          Path("/proc/buddyinfo").read_text())


def examine(directory: Path) -> Machine:
    """This machine; `directory` is where inputs live."""
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return Machine(
        cpu=field_of("/proc/cpuinfo", "model name"),
        cpus=os.cpu_count() or 1,
        memory_gib=int(field_of("/proc/meminfo", "MemTotal").split()[0]) / 2**20,
        kernel=os.uname().release,
        file_system=file_system_of(directory),
        governor=governor.read_text().strip() if governor.exists() else "not visible",
        reported_order=reported_order_here(),
    )
