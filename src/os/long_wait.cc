#include "os/long_wait.h"

#include <utility>

namespace lamina::os {
namespace {

// NOLINTBEGIN(cppcoreguidelines-avoid-non-const-global-variables): of one thread each
thread_local WaitObserver* of_this_thread = nullptr;
thread_local int waits = 0;
// NOLINTEND(cppcoreguidelines-avoid-non-const-global-variables)

}  // namespace

WaitObserver* observe_waits(WaitObserver* observer) {
  return std::exchange(of_this_thread, observer);
}

LongWait::LongWait() {
  if (waits++ == 0 && of_this_thread != nullptr) of_this_thread->wait_begins();
}

LongWait::~LongWait() {
  if (--waits == 0 && of_this_thread != nullptr) of_this_thread->wait_ends();
}

}  // namespace lamina::os
