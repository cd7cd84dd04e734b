// Reading the small text files of /proc.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace lamina::os {

/// The text of a file of /proc, 1 MiB of it at most; nothing when it cannot be read.
std::optional<std::string> read_proc_file(const std::string& path);

/// What follows `name` in the first line that begins with it; empty when none does.
std::string_view proc_value(std::string_view text, std::string_view name);

/// Takes the next number off the front of `text`, with the blanks before it.
std::optional<std::int64_t> take_number(std::string_view& text);

}  // namespace lamina::os
