#include "server/serving_threads.h"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <iterator>
#include <set>
#include <thread>
#include <utility>

#include "base/error.h"
#include "sys/process.h"

namespace lamina::server {
namespace {

using pager::Session;
using pager::SessionState;

constexpr int kEventsPerWait = 64;

/// What is populated between two looks at the events: little while faults come, or what is around
/// some has been put off, so that none waits long; else as much as one buffer holds.
constexpr std::uint32_t kBusyPortionBlocks = 64;   // 256 KiB
constexpr std::uint32_t kIdlePortionBlocks = 512;  // 2 MiB

const pager::PopulatePlan& everything() {
  static const pager::PopulatePlan plan{{}, true};
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
    LAMINA_ASSIGN_OR_RETURN(control_, sys::Event::create("serving threads"));
    epoll_ = sys::Fd(::epoll_create1(EPOLL_CLOEXEC));
    if (!epoll_.valid()) return system_failure("epoll_create", "serving threads", errno);
    LAMINA_RETURN_IF_ERROR(watch(control_.fd(), kControlTag));
    thread_ = std::thread([this] { run(); });
    return {};
  }

  void add(VmToServe vm) {
    ++load_;
    {
      const MutexLock lock(mutex_);
      incoming_.push_back(std::move(vm));
    }
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
    bool puts_off = false;  ///< it is in putting_off_
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
      const bool waits = !more && putting_off_.empty();
      const int count = ::epoll_wait(epoll_.get(), events.data(), kEventsPerWait, waits ? -1 : 0);
      bool busy = false;
      for (int i = 0; i < count; ++i) busy |= handle(events[static_cast<std::size_t>(i)].data.u64);
      if (!busy && !putting_off_.empty()) {
        fill_put_off();
        busy = true;
      }
      more = populate(busy ? kBusyPortionBlocks : kIdlePortionBlocks);
      more |= reap();
    }
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
    Session& session = *found->second.session;
    bool came = true;
    if (static_cast<Source>(data & 1U) == Source::kUserfaultfd) {
      came = session.handle_events() > 0;
      Served& served = found->second;
      if (session.has_put_off() && !std::exchange(served.puts_off, true)) {
        putting_off_.push_back(&served);
      }
    } else {
      session.end();
    }
    if (session.state() != SessionState::kServing) done_.insert(found->first);
    return came;
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
      if (std::exchange(served.vm.options.plan, &everything()) != &everything()) {
        served.session->set_plan(&everything(), reader());
        populating_.insert(id);
      }
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

  void begin(VmToServe vm) {
    if (vm.options.plan != nullptr) vm.options.reader = reader();
    const Status begun = [&]() -> Status {
      LAMINA_ASSIGN_OR_RETURN(
          std::unique_ptr<Session> session,
          Session::create(*vm.chain, *vm.state, vm.descriptors,
                          std::span(buffer_.get(), pager::kFillBufferBytes), vm.options));
      LAMINA_RETURN_IF_ERROR(watch(vm.descriptors.userfaultfd, tag(vm.id, Source::kUserfaultfd)));
      LAMINA_RETURN_IF_ERROR(watch(vm.descriptors.pidfd, tag(vm.id, Source::kPidfd)));
      if (vm.options.plan != nullptr) populating_.insert(vm.id);
      if (session->state() != SessionState::kServing) done_.insert(vm.id);
      served_.emplace(vm.id, Served{vm, std::move(session), false});
      putting_off_.reserve(served_.size());
      return {};
    }();
    if (begun) return;
    const bool ended = sys::has_ended(vm.descriptors.pidfd);
    if (!ended) static_cast<void>(sys::kill_process(vm.descriptors.pidfd));
    finish(vm,
           {vm.id, ended ? SessionState::kEnded : SessionState::kKilled, begun.error().message});
  }

  /// A part for one session: the sessions take turns.
  void fill_put_off() {
    Served& served = *putting_off_.front();
    served.session->fill_put_off();
    std::rotate(putting_off_.begin(), std::next(putting_off_.begin()), putting_off_.end());
    const bool serving = served.session->state() == SessionState::kServing;
    if (!serving) done_.insert(served.vm.id);
    if (serving && served.session->has_put_off()) return;
    served.puts_off = false;
    putting_off_.pop_back();
  }

  /// A portion for every session whose plan is not filled. False when nothing can be done before
  /// an event comes.
  bool populate(std::uint32_t blocks) {
    bool more = false;
    if (reader_) reader_->share_among(populating_.size());
    for (auto id = populating_.begin(); id != populating_.end();) {
      Served& served = served_.at(*id);
      const Session::Populated populated = populate_one(served, blocks);
      // Who waits may wait for the portions of one that is done.
      more |= populated != Session::Populated::kWaits;
      if (served.session->state() != SessionState::kServing) done_.insert(*id);
      id = populated == Session::Populated::kDone ? populating_.erase(id) : std::next(id);
    }
    return more && !populating_.empty();
  }

  static Session::Populated populate_one(Served& served, std::uint32_t blocks) {
    Session& session = *served.session;
    const Session::Populated populated = session.populate(blocks);
    if (populated != Session::Populated::kDone || session.state() != SessionState::kServing ||
        served.vm.options.plan != &everything()) {
      return populated;
    }
    return session.detach() ? Session::Populated::kDone : Session::Populated::kMore;
  }

  /// Reports the sessions that are over, except those that something is being read for just now:
  /// the reader tells when it has done so. True when there are fewer than before.
  bool reap() {
    bool reaped = false;
    for (auto id = done_.begin(); id != done_.end();) {
      const auto found = served_.find(*id);
      Session& session = *found->second.session;
      populating_.erase(*id);
      if (!session.stop_populating()) {
        ++id;
        continue;
      }
      Ended ended{*id, session.state(), session.failure()};
      const VmToServe vm = found->second.vm;
      std::erase(putting_off_, &found->second);
      served_.erase(found);
      id = done_.erase(id);
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
  sys::Event control_;
  sys::Fd epoll_;
  std::unique_ptr<pager::PlanReader> reader_;  ///< of the thread; before the sessions, which use it
  std::thread thread_;
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> detaching_ = false;
  std::atomic<std::size_t> load_ = 0;
  Mutex mutex_;
  std::vector<VmToServe> incoming_ LAMINA_GUARDED_BY(mutex_);
  // Of the thread. What happens to one VM costs nothing for the others.
  std::map<std::uint64_t, Served> served_;
  std::set<std::uint64_t> populating_;  ///< whose plan is not filled yet
  std::set<std::uint64_t> done_;        ///< that are not served any more, to be reported
  std::vector<Served*> putting_off_;    ///< that have put off windows; there is room for all
};

Result<std::unique_ptr<ServingThreads>> ServingThreads::start(std::size_t threads) {
  std::unique_ptr<ServingThreads> started(new ServingThreads);
  LAMINA_ASSIGN_OR_RETURN(started->ended_event_, sys::Event::create("serving threads"));
  for (std::size_t i = 0; i < threads; ++i) {
    started->threads_.push_back(std::make_unique<Thread>(*started));
    LAMINA_RETURN_IF_ERROR(started->threads_.back()->start());
  }
  return started;
}

ServingThreads::~ServingThreads() = default;

void ServingThreads::add(VmToServe vm) {
  const auto idlest =
      std::min_element(threads_.begin(), threads_.end(),
                       [](const auto& a, const auto& b) { return a->load() < b->load(); });
  (*idlest)->add(std::move(vm));
}

std::vector<Ended> ServingThreads::take_ended() {
  ended_event_.clear();
  const MutexLock lock(mutex_);
  return std::exchange(ended_, {});
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

}  // namespace lamina::server
