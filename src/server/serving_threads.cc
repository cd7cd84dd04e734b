#include "server/serving_threads.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "os/process.h"

namespace lamina::server {
namespace {

/// Lines of which the owner has taken none yet, at most.
constexpr std::size_t kMaxNotes = 64;

}  // namespace

Result<std::unique_ptr<ServingThreads>> ServingThreads::start(std::size_t threads) {
  std::unique_ptr<ServingThreads> started(new ServingThreads);
  LAMINA_ASSIGN_OR_RETURN(started->ended_event_, os::Event::create("serving threads"));
  const ServingThread::Reports reports{
      [raw = started.get()](Ended ended) { raw->report(std::move(ended)); },
      [raw = started.get()](std::string note) { raw->report_note(std::move(note)); }};
  for (std::size_t i = 0; i < threads; ++i) {
    auto thread = std::make_unique<ServingThread>(reports);
    const Status begun = thread->start();
    if (!begun && i > 0) {
      started->report_note(
          fmt::format("{} of {} serving threads: {}", i, threads, one_line(begun.error())));
      break;
    }
    LAMINA_RETURN_IF_ERROR(begun);
    started->threads_.push_back(std::move(thread));
  }
  return started;
}

ServingThreads::~ServingThreads() = default;

void ServingThreads::reserve(std::size_t vms) {
  const MutexLock lock(mutex_);
  // (Those that have ended and were not taken yet have their places, too.)
  ended_.reserve(ended_.size() + vms);
}

void ServingThreads::add(VmToServe vm) {
  const auto idlest =
      std::min_element(threads_.begin(), threads_.end(),
                       [](const auto& a, const auto& b) { return a->load() < b->load(); });
  const std::uint64_t id = vm.id;
  const int pidfd = vm.descriptors.pidfd;
  Status added = contain("serve a VM", [&]() -> Status {
    (*idlest)->add(std::move(vm));
    return {};
  });
  if (added) return;
  static_cast<void>(os::kill_process(pidfd));
  report({id, pager::SessionState::kKilled, std::move(added.error().message)});
}

std::vector<Ended> ServingThreads::take_ended() {
  const MutexLock lock(mutex_);
  // The room stays where it is.
  std::vector<Ended> taken;
  taken.reserve(ended_.size());
  std::move(ended_.begin(), ended_.end(), std::back_inserter(taken));
  ended_.clear();
  // Last: what could not be taken is still to be seen.
  ended_event_.clear();
  return taken;
}

std::vector<std::string> ServingThreads::take_notes() {
  const MutexLock lock(mutex_);
  return std::exchange(notes_, {});
}

void ServingThreads::detach_all() {
  for (const auto& thread : threads_) thread->detach();
}

void ServingThreads::report(Ended ended) {
  {
    const MutexLock lock(mutex_);
    ended_.push_back(std::move(ended));
  }
  ended_event_.signal();
}

void ServingThreads::report_note(std::string note) {
  {
    const MutexLock lock(mutex_);
    if (notes_.size() == kMaxNotes) return;
    notes_.push_back(std::move(note));
  }
  ended_event_.signal();
}

}  // namespace lamina::server
