// A wait for the lock of a name that is about to be free.
#pragma once

#include <chrono>
#include <string>

#include "lamina/progress.h"
#include "lamina/result.h"
#include "store/store.h"

namespace lamina::remote {

/// Takes the lock of `name`. If another process or thread holds it, tries again until `longest` has
/// passed or `progress`, which may be null, asks to stop: kBusy then. Other errors are those of
/// Store::lock().
Result<store::NameLock> wait_for_name(const store::Store& store, const std::string& name,
                                      std::chrono::milliseconds longest, Progress* progress);

}  // namespace lamina::remote
