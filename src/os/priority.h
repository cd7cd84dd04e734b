#pragma once

#include "lamina/result.h"

namespace lamina::os {

/// Gives the calling thread the lowest CPU priority (nice 19) and the idle I/O class (BFQ honours
/// it, other I/O schedulers ignore it). An unprivileged thread cannot undo this.
Status become_background_thread();

}  // namespace lamina::os
