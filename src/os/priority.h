#pragma once

#include "lamina/result.h"

namespace lamina::os {

/// Gives the calling thread the lowest CPU priority (nice 19) and the idle class of I/O: it gets
/// the disk when nobody else wants it, where the I/O scheduler knows classes (BFQ; others ignore
/// it). Without privileges there is no way back, so it is for a thread that ends with its work.
Status become_background_thread();

}  // namespace lamina::os
