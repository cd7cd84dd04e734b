// Which lamina this is: of the library that is linked, not of the headers.
#pragma once

namespace lamina {

/// "0.2.0": what CMakeLists.txt and CHANGELOG.md call it.
const char* version();

/// The git commit that was built, 12 digits, with "-dirty" behind it when files were changed; empty
/// when it was built from something that does not tell.
const char* version_commit();

/// Both, for people: "0.2.0 (git 76b785a0c1d2)", or "0.2.0".
const char* version_text();

}  // namespace lamina
