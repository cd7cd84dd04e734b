// Versions.
//
// Until 1.0 each minor version may change the interface, source and binary: the soname is
// liblamina.so.MAJOR.MINOR, and find_package(lamina 0.2) accepts 0.2.x only. A patch version
// changes neither: a program runs with any later 0.2.x.
#pragma once

// NOLINTBEGIN(cppcoreguidelines-macro-usage): for #if

/// The version of the headers that a program is compiled with.
#define LAMINA_VERSION_MAJOR 0
#define LAMINA_VERSION_MINOR 2
#define LAMINA_VERSION_PATCH 0

// NOLINTEND(cppcoreguidelines-macro-usage)

namespace lamina {

/// The version of the library that is linked, as in CHANGELOG.md: "0.2.0".
const char* version();

/// The git commit that was built, 12 digits, with the suffix "-dirty" if files were changed. Empty
/// if it was not built from a git repository.
const char* version_commit();

/// Both, for a person: "0.2.0 (git 76b785a0c1d2)", or "0.2.0".
const char* version_text();

}  // namespace lamina
