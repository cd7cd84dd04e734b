#include "remote/name_wait.h"

#include <thread>

namespace lamina::remote {

Result<store::NameLock> wait_for_name(const store::Store& store, const std::string& name,
                                      std::chrono::milliseconds longest, Progress* progress) {
  constexpr std::chrono::milliseconds kPoll{20};
  const auto end = std::chrono::steady_clock::now() + longest;
  while (true) {
    auto lock = store.lock(name);
    const bool is_busy = !lock && lock.error().kind == ErrorKind::kBusy;
    if (!is_busy || std::chrono::steady_clock::now() >= end) return lock;
    if (progress != nullptr && progress->interrupted()) return lock;
    std::this_thread::sleep_for(kPoll);
  }
}

}  // namespace lamina::remote
