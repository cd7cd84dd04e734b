#pragma once

#include <cstdint>
#include <string>

namespace lamina::os {

/// The login name of a user; empty if there is none.
std::string user_name(std::uint32_t uid);

}  // namespace lamina::os
