// One thread that serves VMs: reads their events, fills pages, and populates between faults.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "engine/chain.h"
#include "lamina/result.h"
#include "os/event.h"
#include "os/fd.h"
#include "pager/plan_reader.h"
#include "pager/session.h"
#include "pager/vm_state.h"
#include "store/arrival.h"

namespace lamina::server {

/// A VM whose serving has ended.
struct Ended {
  std::uint64_t id = 0;
  pager::SessionState state = pager::SessionState::kEnded;
  std::string failure;  ///< why it was killed
};

/// What a thread needs to serve a VM. All of it must exist until the VM is reported as ended.
struct VmToServe {
  std::uint64_t id = 0;
  const engine::Chain* chain = nullptr;
  pager::VmState* state = nullptr;
  pager::VmDescriptors descriptors;
  pager::SessionOptions options;
  std::shared_ptr<const store::Arrival> arrival;  ///< null: all blocks are here
};

class ServingThread {
 public:
  /// Callbacks, called in this thread.
  struct Reports {
    std::function<void(Ended)> ended;       ///< must not throw
    std::function<void(std::string)> note;  ///< a line for the log
  };

  explicit ServingThread(Reports reports)
      : reports_(std::move(reports)), buffer_(new std::byte[pager::kFillBufferBytes]) {}
  ServingThread(const ServingThread&) = delete;
  ServingThread& operator=(const ServingThread&) = delete;
  ServingThread(ServingThread&&) = delete;
  ServingThread& operator=(ServingThread&&) = delete;

  /// Stops it. VMs that are still served wait for a successor.
  ~ServingThread();

  Status start();

  // Thread-safe.
  void add(VmToServe vm);
  /// See ServingThreads::detach_all().
  void detach();

  [[nodiscard]] std::size_t load() const { return load_; }

 private:
  struct Served {
    VmToServe vm;
    std::unique_ptr<pager::ArrivingBlocks> arriving;  ///< before the session, which uses it
    std::unique_ptr<pager::Session> session;
    // In which of the lists below it is.
    bool defers = false;
    bool populates = false;
    bool retries = false;
    bool done = false;
  };

  /// In an epoll event: the id of the VM, from 1 on, and which of its descriptors it is.
  enum class Source : std::uint8_t { kUserfaultfd = 0, kPidfd = 1, kArriving = 2 };
  static constexpr unsigned kSourceBits = 2;
  static std::uint64_t tag(std::uint64_t id, Source source);

  static constexpr std::uint64_t kControlTag = 0;
  static constexpr std::uint64_t kReaderTag = 1;

  [[nodiscard]] Status watch(int fd, std::uint64_t data) const;

  void run();

  /// Milliseconds until something must be done without an event; -1: nothing.
  [[nodiscard]] int wait_ms() const;

  /// Does `work` with one VM. An exception in it (for example, no memory) ends that VM and no
  /// other.
  template <typename Work>
  void with(Served& served, Work&& work) noexcept;

  /// Puts a VM on a list, which has room for all VMs.
  static void put_on(std::vector<Served*>& list, Served& served, bool& is_on);

  /// True if a VM's event was handled. False if the event was this process's own, or if a VM's
  /// descriptor is readable without an event (one that was made blocking always is).
  bool handle(std::uint64_t data);

  void retry_due();

  void take_incoming();

  /// Started for the first plan. Null if that fails: then sessions read the data themselves.
  pager::PlanReader* reader();

  void begin(const VmToServe& vm);

  Status make_session(VmToServe vm);

  /// Fills a part of the deferred pages of one session; the sessions take turns.
  void fill_deferred();

  /// Fills a portion for every session whose plan is not done. False if nothing can be done before
  /// the next event.
  bool populate(std::uint32_t blocks);

  static pager::Session::Populated populate_one(Served& served, std::uint32_t blocks);

  /// Reports the sessions that have ended, except those for which the reader is reading: the reader
  /// signals when it is done. True if it reported any.
  bool reap();

  void finish(const VmToServe& vm, Ended ended);

  Reports reports_;
  std::unique_ptr<std::byte[]> buffer_;  // NOLINT(modernize-avoid-c-arrays): not zeroed, 2 MiB
  os::Event control_;
  os::Fd epoll_;
  std::unique_ptr<pager::PlanReader> reader_;  ///< of the thread; before the sessions, which use it
  std::thread thread_;
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> detaching_ = false;
  std::atomic<std::size_t> load_ = 0;
  Mutex mutex_;
  std::vector<VmToServe> incoming_ LAMINA_GUARDED_BY(mutex_);
  // Used by the thread only. An event of one VM costs no time proportional to the others.
  std::map<std::uint64_t, Served> served_;
  // Some of them; in each list there is room for all, so that nothing has to be had to put one on.
  std::vector<Served*> deferring_;   ///< that have put off windows
  std::vector<Served*> populating_;  ///< whose plan is not filled yet
  std::vector<Served*> retrying_;    ///< for which the host has no page
  std::vector<Served*> done_;        ///< that are not served any more, to be reported
};

}  // namespace lamina::server
