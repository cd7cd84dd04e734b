// The method of packing that an option names.
#pragma once

#include "lamina/pack.h"
#include "packed/compression.h"

namespace lamina::operations {

constexpr packed::Method method_of(PackCodec codec) {
  switch (codec) {
    case PackCodec::kZstd:
      return packed::Method::kZstd;
    case PackCodec::kLz4:
      return packed::Method::kLz4;
    case PackCodec::kNone:
      return packed::Method::kRaw;
  }
  return packed::Method::kRaw;
}

}  // namespace lamina::operations
