// The files of assets/, compiled into the program (cmake/embed.cmake).
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace lamina::ui {

/// The contents of assets/NAME; nullopt if there is no such file.
std::optional<std::string_view> asset(std::string_view name);

}  // namespace lamina::ui
