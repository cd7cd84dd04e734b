#include "server/serving_threads.h"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <iterator>
#include <thread>
#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "os/clock.h"
#include "os/process.h"
#include "os/thread.h"

namespace lamina::server {
namespace {

using pager::Session;
using pager::SessionState;

constexpr int kEventsPerWait = 64;

/// What is populated between two looks at the events: little while faults come, or what is around
/// some has been put off, so that none waits long; else as much as one buffer holds.
constexpr std::uint32_t kBusyPortionBlocks = 64;   // 256 KiB
constexpr std::uint32_t kIdlePortionBlocks = 512;  // 2 MiB

constexpr std::uint64_t kLongestWaitNs = 1'000'000'000;

/// Lines of which the owner has taken none yet, at most.
constexpr std::size_t kMaxNotes = 64;

const pager::PopulatePlan& what_detaching_needs() {
  static const pager::PopulatePlan plan{{}, true, true};
  return plan;
}

}  // namespace

class ServingThreads::Thread {
 public:
  explicit Thread(ServingThreads& owner)
      : owner_(owner), buffer_(new std::byte[pager::kFillBufferBytes]) {}
  Thread(const Thread&) = delete;
  Thread& operator=(const Thread&) = delete;
  Thread(Thread&&) = delete;
  Thread& operator=(Thread&&) = delete;

  ~Thread() {
    stopping_ = true;
    control_.signal();
    if (thread_.joinable()) thread_.join();
  }

  Status start() {
    LAMINA_ASSIGN_OR_RETURN(control_, os::Event::create("serving threads"));
    epoll_ = os::Fd(::epoll_create1(EPOLL_CLOEXEC));
    if (!epoll_.valid()) return system_failure("epoll_create", "serving threads", errno);
    LAMINA_RETURN_IF_ERROR(watch(control_.fd(), kControlTag));
    LAMINA_ASSIGN_OR_RETURN(thread_, os::start_thread("serving thread", [this] { run(); }));
    return {};
  }

  void add(VmToServe vm) {
    {
      const MutexLock lock(mutex_);
      incoming_.push_back(std::move(vm));
    }
    ++load_;
    control_.signal();
  }

  void detach() {
    detaching_ = true;
    control_.signal();
  }

  [[nodiscard]] std::size_t load() const { return load_; }

 private:
  struct Served {
    VmToServe vm;
    std::unique_ptr<Session> session;
    // In which of the lists below it is.
    bool puts_off = false;
    bool populates = false;
    bool lacks = false;
    bool done = false;
  };

  /// In an epoll event: the id of the VM, from 1 on, and which of its descriptors it is.
  enum class Source : std::uint8_t { kUserfaultfd = 0, kPidfd = 1 };
  static std::uint64_t tag(std::uint64_t id, Source source) {
    return (id << 1U) | static_cast<std::uint64_t>(source);
  }

  static constexpr std::uint64_t kControlTag = 0;
  static constexpr std::uint64_t kReaderTag = 1;

  [[nodiscard]] Status watch(int fd, std::uint64_t data) const {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = data;
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0) return {};
    return system_failure("epoll_ctl", "serving threads", errno);
  }

  void run() {
    std::array<epoll_event, kEventsPerWait> events{};
    bool more = false;
    while (!stopping_) {
      const int count =
          ::epoll_wait(epoll_.get(), events.data(), kEventsPerWait, more ? 0 : wait_ms());
      bool busy = false;
      for (int i = 0; i < count; ++i) busy |= handle(events[static_cast<std::size_t>(i)].data.u64);
      retry_lacking();
      if (!busy && !putting_off_.empty()) {
        fill_put_off();
        busy = true;
      }
      more = populate(busy ? kBusyPortionBlocks : kIdlePortionBlocks);
      more |= reap();
    }
  }

  /// Until something is to be done without an event; -1: nothing is.
  [[nodiscard]] int wait_ms() const {
    if (!putting_off_.empty()) return 0;
    if (lacking_.empty()) return -1;
    constexpr std::uint64_t kNanosecondsPerMillisecond = 1'000'000;
    const std::uint64_t now_ns = os::monotonic_ns();
    std::uint64_t due_ns = now_ns + kLongestWaitNs;
    for (const Served* served : lacking_) {
      due_ns = std::min(due_ns, served->session->next_retry_ns().value_or(now_ns));
    }
    if (due_ns <= now_ns) return 0;
    return static_cast<int>((due_ns - now_ns) / kNanosecondsPerMillisecond) + 1;
  }

  /// Does something with one VM. Whatever goes wrong there, memory of this process that cannot be
  /// had included, ends that VM and no other.
  template <typename Work>
  void with(Served& served, Work&& work) noexcept {
    Session& session = *served.session;
    try {
      std::forward<Work>(work)(session);
    } catch (...) {
      session.give_up("the page server is out of memory");
    }
    std::string note = session.take_note();
    if (!note.empty()) {
      // A line that there is no memory for is lost.
      static_cast<void>(contain("note", [&]() -> Status {
        owner_.report_note(std::move(note));
        return {};
      }));
    }
    if (session.has_put_off()) put_on(putting_off_, served, served.puts_off);
    if (session.next_retry_ns()) put_on(lacking_, served, served.lacks);
    if (session.state() != SessionState::kServing) put_on(done_, served, served.done);
  }

  /// There is room for all VMs in each list.
  static void put_on(std::vector<Served*>& list, Served& served, bool& is_on) {
    if (!std::exchange(is_on, true)) list.push_back(&served);
  }

  /// True when something came from a VM, false when it was of this process, or a VM's descriptor
  /// only seems to have something: one that was made blocking always does, and holds up nobody.
  bool handle(std::uint64_t data) {
    if (data == kControlTag) {
      control_.clear();
      take_incoming();
      return false;
    }
    if (data == kReaderTag) {
      reader_->clear();
      return false;
    }
    const auto found = served_.find(data >> 1U);
    if (found == served_.end()) return false;
    bool came = true;
    with(found->second, [&](Session& session) {
      if (static_cast<Source>(data & 1U) == Source::kUserfaultfd) {
        came = session.handle_events() > 0;
      } else {
        session.end();
      }
    });
    return came;
  }

  void retry_lacking() {
    for (std::size_t i = 0; i < lacking_.size();) {
      Served& served = *lacking_[i];
      with(served, [](Session& session) { session.retry(); });
      if (served.session->next_retry_ns()) {
        ++i;
        continue;
      }
      served.lacks = false;
      lacking_.erase(lacking_.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }

  void take_incoming() {
    std::vector<VmToServe> incoming;
    {
      const MutexLock lock(mutex_);
      incoming.swap(incoming_);
    }
    for (VmToServe& vm : incoming) begin(std::move(vm));
    if (!detaching_) return;
    for (auto& [id, served] : served_) {
      if (std::exchange(served.vm.options.plan, &what_detaching_needs()) ==
          &what_detaching_needs()) {
        continue;
      }
      with(served, [&](Session& session) { session.set_plan(&what_detaching_needs(), reader()); });
      put_on(populating_, served, served.populates);
    }
  }

  /// Started when the first plan comes. Nullptr when that fails: then sessions read for themselves.
  pager::PlanReader* reader() {
    if (reader_) return reader_.get();
    auto started = pager::PlanReader::start();
    if (!started || !watch((*started)->fd(), kReaderTag)) return nullptr;
    reader_ = std::move(*started);
    return reader_.get();
  }

  void begin(const VmToServe& vm) {
    Status begun = contain("serve a VM", [&] { return make_session(vm); });
    if (begun) return;
    const bool ended = os::has_ended(vm.descriptors.pidfd);
    if (!ended) static_cast<void>(os::kill_process(vm.descriptors.pidfd));
    finish(vm, {vm.id, ended ? SessionState::kEnded : SessionState::kKilled,
                std::move(begun.error().message)});
  }

  Status make_session(VmToServe vm) {
    if (vm.options.plan != nullptr) vm.options.reader = reader();
    for (auto* list : {&putting_off_, &populating_, &lacking_, &done_}) {
      list->reserve(served_.size() + 1);
    }
    LAMINA_ASSIGN_OR_RETURN(
        std::unique_ptr<Session> session,
        Session::create(*vm.chain, *vm.state, vm.descriptors,
                        std::span(buffer_.get(), pager::kFillBufferBytes), vm.options));
    LAMINA_RETURN_IF_ERROR(watch(vm.descriptors.userfaultfd, tag(vm.id, Source::kUserfaultfd)));
    LAMINA_RETURN_IF_ERROR(watch(vm.descriptors.pidfd, tag(vm.id, Source::kPidfd)));
    const std::uint64_t id = vm.id;
    const bool populates = vm.options.plan != nullptr;
    Served& served = served_.emplace(id, Served{std::move(vm), std::move(session)}).first->second;
    if (populates) put_on(populating_, served, served.populates);
    with(served, [](Session&) {});
    return {};
  }

  /// A part for one session: the sessions take turns.
  void fill_put_off() {
    Served& served = *putting_off_.front();
    with(served, [](Session& session) { session.fill_put_off(); });
    std::rotate(putting_off_.begin(), std::next(putting_off_.begin()), putting_off_.end());
    const bool serving = served.session->state() == SessionState::kServing;
    if (serving && served.session->has_put_off()) return;
    served.puts_off = false;
    putting_off_.pop_back();
  }

  /// A portion for every session whose plan is not filled. False when nothing can be done before
  /// an event comes.
  bool populate(std::uint32_t blocks) {
    bool more = false;
    if (reader_) reader_->share_among(populating_.size());
    for (std::size_t i = 0; i < populating_.size();) {
      Served& served = *populating_[i];
      Session::Populated populated = Session::Populated::kDone;
      with(served, [&](Session&) { populated = populate_one(served, blocks); });
      // Who waits may wait for the portions of one that is done.
      more |= populated != Session::Populated::kWaits;
      if (populated != Session::Populated::kDone) {
        ++i;
        continue;
      }
      served.populates = false;
      populating_.erase(populating_.begin() + static_cast<std::ptrdiff_t>(i));
    }
    return more && !populating_.empty();
  }

  static Session::Populated populate_one(Served& served, std::uint32_t blocks) {
    Session& session = *served.session;
    const Session::Populated populated = session.populate(blocks);
    if (populated != Session::Populated::kDone || session.state() != SessionState::kServing ||
        served.vm.options.plan != &what_detaching_needs()) {
      return populated;
    }
    return session.detach() ? Session::Populated::kDone : Session::Populated::kMore;
  }

  /// Reports the sessions that are over, except those that something is being read for just now:
  /// the reader tells when it has done so. True when there are fewer than before.
  bool reap() {
    bool reaped = false;
    for (std::size_t i = 0; i < done_.size();) {
      Served& served = *done_[i];
      Session& session = *served.session;
      if (std::exchange(served.populates, false)) std::erase(populating_, &served);
      if (!session.stop_populating()) {
        ++i;
        continue;
      }
      Ended ended{served.vm.id, session.state(), session.take_failure()};
      const VmToServe vm = served.vm;
      for (auto* list : {&putting_off_, &lacking_}) std::erase(*list, &served);
      done_.erase(done_.begin() + static_cast<std::ptrdiff_t>(i));
      served_.erase(vm.id);
      finish(vm, std::move(ended));
      reaped = true;
    }
    return reaped && !populating_.empty();
  }

  void finish(const VmToServe& vm, Ended ended) {
    // Others hold these open files too, so closing them does not take them out.
    for (const int fd : {vm.descriptors.userfaultfd, vm.descriptors.pidfd}) {
      static_cast<void>(::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr));
    }
    --load_;
    owner_.report(std::move(ended));
  }

  ServingThreads& owner_;
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
  // Of the thread. What happens to one VM costs nothing for the others.
  std::map<std::uint64_t, Served> served_;
  // Some of them; in each list there is room for all, so that nothing has to be had to put one on.
  std::vector<Served*> putting_off_;  ///< that have put off windows
  std::vector<Served*> populating_;   ///< whose plan is not filled yet
  std::vector<Served*> lacking_;      ///< for which the host has no page
  std::vector<Served*> done_;         ///< that are not served any more, to be reported
};

Result<std::unique_ptr<ServingThreads>> ServingThreads::start(std::size_t threads) {
  std::unique_ptr<ServingThreads> started(new ServingThreads);
  LAMINA_ASSIGN_OR_RETURN(started->ended_event_, os::Event::create("serving threads"));
  for (std::size_t i = 0; i < threads; ++i) {
    started->threads_.push_back(std::make_unique<Thread>(*started));
    LAMINA_RETURN_IF_ERROR(started->threads_.back()->start());
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
  report({id, SessionState::kKilled, std::move(added.error().message)});
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
