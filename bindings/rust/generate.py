#!/usr/bin/env python3
"""Writes the Rust bindings from include/lamina.h, which is regular enough to be read without libclang:

  lamina-sys/src/lib.rs        the functions, structs and numbers of C
  lamina-sys/tests/layout.rs   the sizes and offsets that the C compiler gives them
  lamina/src/generated.rs      options and reports as safe types

Usage: generate.py [--check]        --check: changes nothing, exits with 1 if a file differs
Needs gcc.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
HEADER = HERE.parent.parent / "include" / "lamina.h"
GENERATED = "// Written by bindings/rust/generate.py from include/lamina.h. Do not edit.\n"
SCALARS = {"size_t": "usize", "uint8_t": "u8", "uint32_t": "u32", "uint64_t": "u64", "int32_t": "i32",
           "int64_t": "i64", "double": "f64", "char": "c_char", "void": "c_void", "int": "c_int"}
# Options that are not converted by their types.
SPECIAL = {"memory_fd", "has_memory_fd", "memory", "memory_bytes", "vmm", "while_frozen", "context",
           "network_overrides", "network_override_count", "drive_overrides",
           "drive_override_count", "pause", "resume", "clones", "clone_count", "devices",
           "device_count"}
PATHS = {"path", "snapshot", "fork"}  # in reports


class Header:
    """What lamina.h declares."""

    def __init__(self, text: str) -> None:
        text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
        text = re.sub(r"\bas;", "r#as;", text)  # a word of Rust
        self.aliases: dict[str, str] = {}
        self.numbers: list[tuple[str, str, str]] = []  # name, type, value
        self.opaque: list[str] = []
        self.structs: dict[str, list[tuple[str, str]]] = {}  # fields: declaration of the type, name
        self.functions: list[tuple[str, str, list[tuple[str, str]]]] = []
        for name, value in re.findall(r"^#define (LAMINA_\w+) (\d+|UINT32_MAX|UINT64_MAX)", text, re.M):
            kind = "usize" if name.endswith("_SIZE") else "u64" if value == "UINT64_MAX" else "u32"
            self.numbers.append((name, kind, f"{kind}::MAX" if value.endswith("_MAX") else value))
        alias = r"typedef (u?int32_t) (lamina_\w+);\s*enum \{(.*?)\};"
        for kind, name, values in re.findall(alias, text, re.S):
            self.aliases[name] = SCALARS[kind]
            for number, value in re.findall(r"(LAMINA_\w+) = (\d+)", values):
                self.numbers.append((number, name, value))
        self.aliases["lamina_bool"] = "u32"
        self.opaque = re.findall(r"^typedef struct (lamina_\w+) \1;", text, re.M)
        for name, body in re.findall(r"typedef struct (lamina_\w+) \{(.*?)\} \1;", text, re.S):
            self.structs[name] = [self.declarator(one) for one in body.split(";") if one.strip()]
        prototype = r"^((?:const )?\w+[ *]+)(lamina_\w+)\(([^;{}]*)\);"
        for result, name, parameters in re.findall(prototype, text, re.M):
            fields = [] if parameters == "void" else [self.declarator(one)
                                                      for one in parameters.split(",")]
            self.functions.append((name, result.strip(), fields))
        if len(self.functions) < 40 or len(self.structs) < 40:
            raise SystemExit("generate.py: include/lamina.h cannot be read any more")

    @staticmethod
    def declarator(text: str) -> tuple[str, str]:
        text = " ".join(text.split())
        callback = re.fullmatch(r"int \(\*(\w+)\)\(void\* context\)", text)
        if callback:
            return "callback", callback.group(1)
        match = re.fullmatch(r"(.*?[ *])((?:r#)?\w+)(\[\w+\])?", text)
        if match is None:
            raise SystemExit(f"generate.py: what is '{text}'?")
        return match.group(1).strip() + (match.group(3) or ""), match.group(2)

    def is_enum(self, kind: str) -> bool:
        return kind in self.aliases and kind not in ("lamina_bool", "lamina_code")


def raw_type(kind: str, is_parameter: bool = False) -> str:
    """A type of C in Rust."""
    if kind == "callback":
        return "Option<unsafe extern \"C\" fn(context: *mut c_void) -> c_int>"
    array = re.fullmatch(r"(\w+)\[(\w+)\]", kind)
    if array:
        element = raw_type(array.group(1))
        return f"*mut {element}" if is_parameter else f"[{element}; {array.group(2)}]"
    if kind.endswith("*"):
        inner = kind[:-1].strip()
        if inner.endswith("const"):  # const T* const*
            return f"*const {raw_type(inner[:-5].strip())}"
        if inner.startswith("const ") and not inner.endswith("*"):
            return f"*const {raw_type(inner[6:])}"
        return f"*mut {raw_type(inner)}"
    if kind.startswith("const "):
        return raw_type(kind[6:])
    return SCALARS.get(kind, kind)


def sys_source(header: Header) -> str:
    lines = [GENERATED, "//! The C interface of lamina as it is. include/lamina.h describes it; the crate "
             "`lamina` is the safe one.", "#![allow(non_camel_case_types)]", "",
             "use std::os::raw::{c_char, c_int, c_void};", ""]
    lines += [f"pub type {name} = {kind};" for name, kind in header.aliases.items()]
    lines += [f"pub const {name}: {kind} = {value};" for name, kind, value in header.numbers]
    for name in header.opaque:
        lines += ["#[repr(C)]", f"pub struct {name} {{ _private: [u8; 0] }}"]
    for name, fields in header.structs.items():
        lines += ["#[repr(C)]", "#[derive(Clone, Copy)]", f"pub struct {name} {{"]
        lines += [f"pub {field}: {raw_type(kind)}," for kind, field in fields] + ["}"]
    lines.append('extern "C" {')
    for name, result, parameters in header.functions:
        listed = ", ".join(f"{field}: {raw_type(kind, True)}" for kind, field in parameters)
        returned = "" if result == "void" else f" -> {raw_type(result)}"
        lines.append(f"pub fn {name}({listed}){returned};")
    return "\n".join([*lines, "}"])


def layout_source(header: Header) -> str:
    """A test with the numbers of the C compiler."""
    with tempfile.TemporaryDirectory() as work:
        source = Path(work) / "layout.c"
        body = "".join(f'printf("{name} size %zu\\n", sizeof({name}));' + "".join(
            f'printf("{name} {field} %zu\\n", offsetof({name}, {field.removeprefix("r#")}));' for _, field in fields)
            for name, fields in header.structs.items())
        source.write_text(f'#include <stdio.h>\n#include "lamina.h"\nint main(void) {{ {body} }}\n')
        program = Path(work) / "layout"
        subprocess.run(["gcc", f"-I{HEADER.parent}", str(source), "-o", str(program)], check=True)
        printed = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout
    lines = [GENERATED, "use lamina_sys::*;", "use std::mem::{size_of, MaybeUninit};", "",
             "macro_rules! offset { ($t:ty, $f:ident) => {{ let s = MaybeUninit::<$t>::uninit(); "
             "let p = s.as_ptr(); let f = unsafe { std::ptr::addr_of!((*p).$f) }; "
             "f as usize - p as usize }} }", "",
             "#[test]", "#[cfg(target_pointer_width = \"64\")]", "fn structs_have_the_layout_of_c() {"]
    for line in printed.splitlines():
        name, what, number = line.split()
        value = f"size_of::<{name}>()" if what == "size" else f"offset!({name}, {what})"
        lines.append(f'assert_eq!({value}, {number}, "{name} {what}");')
    return "\n".join([*lines, "}"])


def camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.removeprefix("lamina_").split("_"))


def is_options(name: str) -> bool:
    return name.endswith("_options") or name in ("lamina_vmm", "lamina_clone_devices")


def enum_source(header: Header) -> list[str]:
    lines = []
    for alias in header.aliases:
        if not header.is_enum(alias):
            continue
        members = [(name, value) for name, kind, value in header.numbers if kind == alias]
        prefix = re.match(r"LAMINA_[A-Z]+_", members[0][0])
        longest = prefix.group() if prefix else "LAMINA_"
        while not all(name.startswith(longest) for name, _ in members):
            longest = longest[:longest.rstrip("_").rindex("_") + 1]
        if len(members) > 1:  # the longest prefix that all have
            words = [name.split("_") for name, _ in members]
            count = 0
            while all(len(w) > count + 1 and w[count] == words[0][count] for w in words):
                count += 1
            longest = "_".join(words[0][:count]) + "_"
        lines += [f"/// `{alias}`. A later library may know other numbers.",
                  "#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]", "#[repr(transparent)]",
                  f"pub struct {camel(alias)}(pub u32);", f"impl {camel(alias)} {{"]
        for name, value in members:
            short = name.removeprefix(longest)
            short = f"M{short[:-1]}" if short[0].isdigit() else short  # 2M
            lines.append(f"pub const {short}: Self = Self({value});")
        lines.append("}")
    return lines


def options_source(header: Header, name: str) -> list[str]:
    """The struct of a caller, and how it becomes that of C."""
    fields, sets = [], []
    listed = dict((field, kind) for kind, field in header.structs[name])
    counts = {field: next(other for other in list(listed)[list(listed).index(field) + 1:]
                          if other.endswith("_count"))
              for field, kind in listed.items()
              if kind in ("const char* const*", "const lamina_uuid*") and field not in ("arrival", "build_id", "only_build", "pause_id")}
    for field, kind in listed.items():
        if field == "struct_size" or field.startswith("reserved") or field in counts.values():
            continue
        if field in SPECIAL:
            special = {
                "memory_fd": ("Option<BorrowedFd<'a>>", "if let Some(fd) = self.memory_fd { c.memory_fd = fd.as_raw_fd(); c.has_memory_fd = 1; }"),
                "memory": ("&'a [u8]", "if !self.memory.is_empty() { c.memory = self.memory.as_ptr().cast(); c.memory_bytes = self.memory.len(); }"),
                "vmm": ("Vmm<'a>", "let vmm = self.vmm.to_c(keep)?; c.vmm = keep.vmm(vmm);"),
                "pause": ("PauseOptions<'a>", "let pause = self.pause.to_c(keep)?; c.pause = keep.pause(pause);"),
                "resume": ("ResumeOptions<'a>", "let resume = self.resume.to_c(keep)?; c.resume = keep.resume_of_clones(resume);"),
                "clones": ("&'a [Vmm<'a>]", "c.clones = keep.clones(self.clones)?; c.clone_count = self.clones.len();"),
                "devices": ("&'a [CloneDevices<'a>]", "c.devices = keep.devices(self.devices)?; c.device_count = self.devices.len();"),
                "while_frozen": ("Option<&'a dyn Fn() -> i32>", "if let Some(function) = self.while_frozen { c.while_frozen = Some(call_while_frozen); c.context = keep.function(function); }"),
                "network_overrides": ("&'a [(&'a OsStr, &'a OsStr)]", "c.network_overrides = keep.networks(self.network_overrides)?; c.network_override_count = self.network_overrides.len();"),
                "drive_overrides": ("&'a [(&'a OsStr, &'a OsStr)]", "c.drive_overrides = keep.drives(self.drive_overrides)?; c.drive_override_count = self.drive_overrides.len();"),
            }.get(field)
            if special:
                fields.append((field, special[0]))
                sets.append(special[1])
        elif kind == "const char*":
            fields.append((field, "&'a OsStr"))
            sets.append(f"c.{field} = keep.text(self.{field})?;")
        elif kind == "const char* const*":
            fields.append((field, "&'a [&'a OsStr]"))
            sets.append(f"c.{field} = keep.texts(self.{field})?; c.{counts[field]} = self.{field}.len();")
        elif kind == "const lamina_uuid*" and field in counts:
            fields.append((field, "&'a [Uuid]"))
            sets.append(f"c.{field} = self.{field}.as_ptr().cast(); c.{counts[field]} = self.{field}.len();")
        elif kind == "const lamina_uuid*":
            fields.append((field, "Option<&'a Uuid>"))
            sets.append(f"if let Some(id) = self.{field} {{ c.{field} = &id.0; }}")
        elif kind == "lamina_progress*":
            fields.append((field, "Option<&'a Progress>"))
            sets.append(f"if let Some(progress) = self.{field} {{ c.{field} = progress.handle(); }}")
        elif kind == "lamina_bool":
            fields.append((field, "bool"))
            sets.append(f"c.{field} = u32::from(self.{field});")
        elif header.is_enum(kind):
            fields.append((field, camel(kind)))
            sets.append(f"c.{field} = self.{field}.0;")
        else:
            fields.append((field, raw_type(kind)))
            sets.append(f"c.{field} = self.{field};")
    rust = camel(name)
    keep = "keep" if any("keep" in line for line in sets) else "_keep"
    lines = [f"/// `{name}`. Empty, `None` and 0 are the defaults.", "#[derive(Clone, Copy, Default)]",
             f"pub struct {rust}<'a> {{"]
    lines += [f"pub {field}: {kind}," for field, kind in fields]
    lines += ["}", f"impl Options for {rust}<'_> {{", f"type C = sys::{name};",
              f"fn to_c<'k>(&'k self, {keep}: &mut Keep<'k>) -> Result<sys::{name}, Error> {{",
              "// All zeros are valid, and the default.",
              f"let mut c: sys::{name} = unsafe {{ std::mem::zeroed() }};",
              f"c.struct_size = std::mem::size_of::<sys::{name}>();", *sets, "Ok(c)", "}", "}"]
    return lines


def report_source(header: Header, name: str) -> list[str]:
    """A view of what the library has made."""
    listed = header.structs[name]
    names = [field for _, field in listed]
    rust = camel(name)
    lines = [f"/// `{name}`.", "#[repr(transparent)]", f"pub struct {rust}(sys::{name});",
             f"unsafe impl ReportView for {rust} {{ type C = sys::{name}; }}",
             f"unsafe impl Send for {rust} {{}}", f"unsafe impl Sync for {rust} {{}}", f"impl {rust} {{"]
    for kind, field in listed:
        count = next((c for c in (field[:-1] + "_count", field + "_count", "count", "pending_count")
                      if c in names and c != field), None)
        pointed = re.fullmatch(r"const (lamina_\w+)\* const\*", kind)
        array = re.fullmatch(r"const (lamina_\w+)\*", kind)
        if field == "struct_size" or field.startswith("reserved") or field.endswith("_count") or field == "count":
            continue
        if kind == "const char* const*":
            lines.append(f"pub fn {field}(&self) -> impl ExactSizeIterator<Item = Cow<'_, str>> {{ "
                         f"unsafe {{ texts(self.0.{field}, self.0.{count}) }} }}")
        elif pointed:
            item = camel(pointed.group(1))
            lines.append(f"pub fn {field}(&self) -> impl ExactSizeIterator<Item = &{item}> {{ "
                         f"unsafe {{ items(self.0.{field}, self.0.{count}) }} }}")
        elif array and array.group(1) == "lamina_error":
            lines.append(f"pub fn {field}(&self) -> Option<Error> {{ unsafe {{ error_at(self.0.{field}) }} }}")
        elif array and count is None:
            item = camel(array.group(1))
            lines.append(f"pub fn {field}(&self) -> Option<&{item}> {{ unsafe {{ item_at(self.0.{field}) }} }}")
        elif array:
            item = array.group(1)
            lines.append(f"pub fn {field}(&self) -> &[sys::{item}] {{ "
                         f"unsafe {{ slice(self.0.{field}, self.0.{count}) }} }}")
        elif kind == "const char*" and field in PATHS:
            lines.append(f"pub fn {field}(&self) -> &Path {{ unsafe {{ path_at(self.0.{field}) }} }}")
        elif kind == "const char*":
            lines.append(f"pub fn {field}(&self) -> Cow<'_, str> {{ unsafe {{ text_at(self.0.{field}) }} }}")
        elif kind == "lamina_uuid":
            lines.append(f"pub fn {field}(&self) -> Uuid {{ Uuid(self.0.{field}) }}")
        elif kind == "lamina_bool":
            lines.append(f"pub fn {field}(&self) -> bool {{ self.0.{field} != 0 }}")
        elif header.is_enum(kind):
            lines.append(f"pub fn {field}(&self) -> {camel(kind)} {{ {camel(kind)}(self.0.{field}) }}")
        else:
            lines.append(f"pub fn {field}(&self) -> {raw_type(kind)} {{ self.0.{field} }}")
    return [*lines, "}"]


def safe_source(header: Header) -> str:
    lines = [GENERATED, "//! Options, reports and numbers.", "",
             "use crate::convert::{call_while_frozen, error_at, item_at, items, path_at, slice, text_at, texts, Keep};",
             "use crate::{Error, Options, Progress, ReportView, Uuid};", "use lamina_sys as sys;",
             "use std::borrow::Cow;", "use std::ffi::OsStr;", "use std::os::unix::io::{AsRawFd, BorrowedFd};",
             "use std::path::Path;", "", *enum_source(header)]
    # Not views: they are written by hand, or arrays of C.
    by_hand = {"lamina_uuid", "lamina_error", "lamina_lines", "lamina_text", "lamina_extent",
               "lamina_file_use", "lamina_network_override", "lamina_drive_override",
               "lamina_progress_state"}
    for name in header.structs:
        if is_options(name):
            lines += options_source(header, name)
        elif name not in by_hand:
            lines += report_source(header, name)
    return "\n".join(lines)


def indented(source: str) -> str:
    """With four spaces for each open brace. (rustfmt's output differs between its versions.)"""
    lines, depth = [], 0
    for line in source.splitlines():
        lines.append("    " * (depth - line.startswith("}")) + line if line else "")
        depth += line.count("{") - line.count("}")
    return "\n".join(lines) + "\n"


def main() -> int:
    if sys.argv[1:] not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    header = Header(HEADER.read_text(encoding="utf-8"))
    different = False
    for file, source in (("lamina-sys/src/lib.rs", sys_source(header)),
                         ("lamina-sys/tests/layout.rs", layout_source(header)),
                         ("lamina/src/generated.rs", safe_source(header))):
        text = indented(source)
        path = HERE / file
        if not sys.argv[1:]:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            print(f"generate.py: '{file}' is not what include/lamina.h gives; "
                  "run: bindings/rust/generate.py", file=sys.stderr)
            different = True
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
