"""Builds the wheel and the source archive (PEP 517), with the standard library only.

So `pip install bindings/python` needs no network and no setuptools. The same files give the same
bytes.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import re
import tarfile
import zipfile
from pathlib import Path
from typing import Any, Dict, List, Optional

HERE = Path(__file__).resolve().parent
# The distribution's name. The package is lamina; that name on PyPI is not ours.
NAME = "lamina_engine"
TAG = "py3-none-any"
OLDEST_DATE = (1980, 1, 1, 0, 0, 0)  # of a zip archive


def version() -> str:
    """The version in lamina/__init__.py."""
    text = (HERE / "lamina" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise RuntimeError("lamina/__init__.py has no __version__")
    return found[1]


def metadata() -> bytes:
    """METADATA, PKG-INFO."""
    readme = (HERE / "README.md").read_text(encoding="utf-8")
    return f"""Metadata-Version: 2.1
Name: {NAME.replace('_', '-')}
Version: {version()}
Summary: client of laminad and reader of lamina's snapshots of microVM memory
License: Apache-2.0
Requires-Python: >=3.9
Classifier: Operating System :: POSIX :: Linux
Classifier: Typing :: Typed
Description-Content-Type: text/markdown

{readme}""".encode()


def package_files() -> List[Path]:
    """The files of the package."""
    return sorted(path for path in (HERE / "lamina").iterdir()
                  if path.suffix == ".py" or path.name == "py.typed")


def get_requires_for_build_wheel(config_settings: Optional[Dict[str, Any]] = None) -> List[str]:
    """Nothing."""
    return []


def get_requires_for_build_sdist(config_settings: Optional[Dict[str, Any]] = None) -> List[str]:
    """Nothing."""
    return []


def build_wheel(wheel_directory: str, config_settings: Optional[Dict[str, Any]] = None,
                metadata_directory: Optional[str] = None) -> str:
    """Writes the wheel; returns its name."""
    info = f"{NAME}-{version()}.dist-info"
    files = {f"lamina/{path.name}": path.read_bytes() for path in package_files()}
    files[f"{info}/METADATA"] = metadata()
    files[f"{info}/WHEEL"] = (f"Wheel-Version: 1.0\nGenerator: lamina\nRoot-Is-Purelib: true\n"
                              f"Tag: {TAG}\n").encode()
    record = ""
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(data)}\n"
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    wheel = f"{NAME}-{version()}-{TAG}.whl"
    with zipfile.ZipFile(Path(wheel_directory) / wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            member = zipfile.ZipInfo(name, OLDEST_DATE)
            member.external_attr = 0o644 << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, data)
    return wheel


def build_sdist(sdist_directory: str, config_settings: Optional[Dict[str, Any]] = None) -> str:
    """Writes the source archive; returns its name."""
    top = f"{NAME}-{version()}"
    files = {f"{top}/PKG-INFO": metadata()}
    for path in [HERE / "pyproject.toml", HERE / "build_backend.py", HERE / "README.md",
                 *package_files()]:
        files[f"{top}/{path.relative_to(HERE)}"] = path.read_bytes()
    name = f"{top}.tar.gz"
    unpacked = io.BytesIO()
    with tarfile.open(fileobj=unpacked, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member_name, data in files.items():
            member = tarfile.TarInfo(member_name)
            member.size = len(data)
            member.mode = 0o644
            archive.addfile(member, io.BytesIO(data))
    (Path(sdist_directory) / name).write_bytes(gzip.compress(unpacked.getvalue(), mtime=0))
    return name
