// Reading the small text files of /proc.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace lamina::os {

/// The text of a file in /proc, at most 1 MiB; nullopt if it cannot be read.
std::optional<std::string> read_proc_file(const std::string& path);

/// The rest of the first line that begins with `name`; empty if there is none.
std::string_view proc_value(std::string_view text, std::string_view name);

/// Removes leading blanks and a number from `text`, and returns the number.
std::optional<std::int64_t> take_number(std::string_view& text);

}  // namespace lamina::os
