#!/usr/bin/env python3
"""Writes a function for each struct of include/lamina.h that sets its pointers to null.

Usage: c_api_pointers.py LAMINA_H OUT

c_api_fuzz.cc fills structs with any bytes. Pointers that lead nowhere are undefined behaviour of the
caller, so none may be left, also none of a field that was added to the interface since.
"""

import re
import sys
from pathlib import Path


def main() -> int:
    """Writes OUT."""
    text = re.sub(r"/\*.*?\*/", "", Path(sys.argv[1]).read_text(), flags=re.S)
    lines = ['// Written by fuzz/c_api_pointers.py.', '#pragma once', '#include "lamina.h"']
    structs = re.findall(r"typedef struct (lamina_\w+) \{(.*?)\} \1;", text, re.S)
    for name, body in structs:
        pointers = re.findall(r"\*\s*(\w+);", body) + re.findall(r"\(\*(\w+)\)\(", body)
        cleared = "".join(f" o.{pointer} = nullptr;" for pointer in pointers)
        lines.append(f"inline void clear_pointers([[maybe_unused]] {name}& o) {{{cleared} }}")
    if len(lines) < 30:
        raise SystemExit(f"c_api_pointers.py: {sys.argv[1]} cannot be read any more")
    Path(sys.argv[2]).write_text("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
