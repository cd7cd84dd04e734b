"""What the tests of the Python package share: paths, and whether there are programs to test with.

The tests run under unittest and pytest, from the source tree: nothing has to be installed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.dont_write_bytecode = True  # the source folder stays clean

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE.parents[1]
DATA = ROOT / "tests" / "data"
OPENAPI = ROOT / "docs" / "openapi.json"

sys.path.insert(0, str(PACKAGE))
sys.path.append(str(ROOT / "tests" / "e2e"))  # behind: it has files of the same names

# ctest sets them.
HAVE_LAMINA = "LAMINA" in os.environ
HAVE_DAEMON = HAVE_LAMINA and {"LAMINAD", "FAKE_FIRECRACKER"} <= os.environ.keys()
