#pragma once

#include "engine/materialize_data.h"
#include "lamina/materialize.h"

namespace lamina::operations {

/// The engine's word for an option of the interface.
inline engine::Sharing sharing_of(Reflink reflink) {
  switch (reflink) {
    case Reflink::kAuto:
      return engine::Sharing::kAuto;
    case Reflink::kAlways:
      return engine::Sharing::kAlways;
    case Reflink::kNever:
      return engine::Sharing::kNever;
  }
  return engine::Sharing::kAuto;
}

}  // namespace lamina::operations
