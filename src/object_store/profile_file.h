// The shared files of AWS: ~/.aws/credentials and ~/.aws/config.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "lamina/result.h"

namespace lamina::object_store {

/// The settings of one section, names in lower case.
using Profile = std::map<std::string, std::string, std::less<>>;

/// The section `[name]` in the text of a file; nullopt if it is not there. Of a name that is set
/// twice the last value counts. Nested settings (indented lines) are ignored.
std::optional<Profile> section_of(std::string_view text, std::string_view name);

/// The section in the file at `path`; nullopt if there is no such file or section. kPermission if
/// the file cannot be read, or is larger than 1 MiB.
Result<std::optional<Profile>> read_section(const std::string& path, std::string_view name);

}  // namespace lamina::object_store
