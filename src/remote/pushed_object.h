// An object of a push.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "format/header.h"
#include "packed/data_key.h"
#include "remote/record.h"

namespace lamina::remote {

/// An object that has, or may have, the contents of a local file, or of a part of one.
struct PushedObject {
  Reference reference;
  std::vector<std::byte> footer;
  std::vector<std::byte> index;                  ///< as stored
  std::optional<packed::DataKey> key{};          ///< sealed
  std::optional<format::FileDigest> contents{};  ///< of a large file
};

}  // namespace lamina::remote
