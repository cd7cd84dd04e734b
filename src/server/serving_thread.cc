#include "server/serving_thread.h"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <iterator>

#include "base/contain.h"
#include "base/error.h"
#include "os/clock.h"
#include "os/process.h"
#include "os/thread.h"
#include "server/arrival_link.h"

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

const pager::PopulatePlan& what_detaching_needs() {
  static const pager::PopulatePlan plan{{}, true, true};
  return plan;
}

}  // namespace

ServingThread::~ServingThread() {
  stopping_ = true;
  control_.signal();
  if (thread_.joinable()) thread_.join();
}

Status ServingThread::start() {
  LAMINA_ASSIGN_OR_RETURN(control_, os::Event::create("serving threads"));
  epoll_ = os::Fd(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_.valid()) return system_failure("epoll_create", "serving threads", errno);
  LAMINA_RETURN_IF_ERROR(watch(control_.fd(), kControlTag));
  LAMINA_ASSIGN_OR_RETURN(thread_, os::start_thread("serving thread", [this] { run(); }));
  return {};
}

void ServingThread::add(VmToServe vm) {
  {
    const MutexLock lock(mutex_);
    incoming_.push_back(std::move(vm));
  }
  ++load_;
  control_.signal();
}

void ServingThread::detach() {
  detaching_ = true;
  control_.signal();
}

std::uint64_t ServingThread::tag(std::uint64_t id, Source source) {
  return (id << kSourceBits) | static_cast<std::uint64_t>(source);
}

Status ServingThread::watch(int fd, std::uint64_t data) const {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = data;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0) return {};
  return system_failure("epoll_ctl", "serving threads", errno);
}

void ServingThread::run() {
  std::array<epoll_event, kEventsPerWait> events{};
  bool more = false;
  while (!stopping_) {
    const int count =
        ::epoll_wait(epoll_.get(), events.data(), kEventsPerWait, more ? 0 : wait_ms());
    bool busy = false;
    for (int i = 0; i < count; ++i) busy |= handle(events[static_cast<std::size_t>(i)].data.u64);
    retry_due();
    if (!busy && !deferring_.empty()) {
      fill_deferred();
      busy = true;
    }
    more = populate(busy ? kBusyPortionBlocks : kIdlePortionBlocks);
    more |= reap();
  }
}

int ServingThread::wait_ms() const {
  if (!deferring_.empty()) return 0;
  if (retrying_.empty()) return -1;
  constexpr std::uint64_t kNanosecondsPerMillisecond = 1'000'000;
  const std::uint64_t now_ns = os::monotonic_ns();
  std::uint64_t due_ns = now_ns + kLongestWaitNs;
  for (const Served* served : retrying_) {
    due_ns = std::min(due_ns, served->session->next_retry_ns().value_or(now_ns));
  }
  if (due_ns <= now_ns) return 0;
  return static_cast<int>((due_ns - now_ns) / kNanosecondsPerMillisecond) + 1;
}

template <typename Work>
void ServingThread::with(Served& served, Work&& work) noexcept {
  Session& session = *served.session;
  try {
    std::forward<Work>(work)(session);
  } catch (...) {
    session.give_up("the page server is out of memory");
  }
  // A line that there is no memory for is lost.
  static_cast<void>(contain("note", [&]() -> Status {
    std::string note = session.take_note();
    if (!note.empty()) reports_.note(std::move(note));
    return {};
  }));
  if (session.has_deferred()) put_on(deferring_, served, served.defers);
  if (session.next_retry_ns()) put_on(retrying_, served, served.retries);
  if (session.state() != SessionState::kServing) put_on(done_, served, served.done);
}

void ServingThread::put_on(std::vector<Served*>& list, Served& served, bool& is_on) {
  if (!std::exchange(is_on, true)) list.push_back(&served);
}

bool ServingThread::handle(std::uint64_t data) {
  if (data == kControlTag) {
    control_.clear();
    take_incoming();
    return false;
  }
  if (data == kReaderTag) {
    reader_->clear();
    return false;
  }
  const auto found = served_.find(data >> kSourceBits);
  if (found == served_.end()) return false;
  bool came = true;
  with(found->second, [&](Session& session) {
    switch (static_cast<Source>(data & ((1U << kSourceBits) - 1))) {
      case Source::kUserfaultfd:
        came = session.handle_events() > 0;
        break;
      case Source::kArriving:
        session.handle_arrived();
        break;
      case Source::kPidfd:
        session.end();
        break;
    }
  });
  return came;
}

void ServingThread::retry_due() {
  for (std::size_t i = 0; i < retrying_.size();) {
    Served& served = *retrying_[i];
    with(served, [](Session& session) { session.retry(); });
    if (served.session->next_retry_ns()) {
      ++i;
      continue;
    }
    served.retries = false;
    retrying_.erase(retrying_.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

void ServingThread::take_incoming() {
  std::vector<VmToServe> incoming;
  {
    const MutexLock lock(mutex_);
    incoming.swap(incoming_);
  }
  for (const VmToServe& vm : incoming) begin(vm);
  if (!detaching_) return;
  for (auto& [id, served] : served_) {
    if (std::exchange(served.vm.options.plan, &what_detaching_needs()) == &what_detaching_needs()) {
      continue;
    }
    with(served, [&](Session& session) { session.set_plan(&what_detaching_needs(), reader()); });
    put_on(populating_, served, served.populates);
  }
}

pager::PlanReader* ServingThread::reader() {
  if (reader_) return reader_.get();
  auto started = pager::PlanReader::start();
  if (!started || !watch((*started)->fd(), kReaderTag)) return nullptr;
  reader_ = std::move(*started);
  return reader_.get();
}

void ServingThread::begin(const VmToServe& vm) {
  Status begun = contain("serve a VM", [&] { return make_session(vm); });
  if (begun) return;
  const bool ended = os::has_ended(vm.descriptors.pidfd);
  if (!ended) static_cast<void>(os::kill_process(vm.descriptors.pidfd));
  finish(vm, {vm.id, ended ? SessionState::kEnded : SessionState::kKilled,
              std::move(begun.error().message)});
}

Status ServingThread::make_session(VmToServe vm) {
  if (vm.options.plan != nullptr) vm.options.reader = reader();
  for (auto* list : {&deferring_, &populating_, &retrying_, &done_}) {
    list->reserve(served_.size() + 1);
  }
  std::unique_ptr<pager::ArrivingBlocks> arriving;
  if (vm.arrival != nullptr) {
    LAMINA_ASSIGN_OR_RETURN(arriving, ArrivalLink::create(vm.arrival));
  }
  vm.options.arriving = arriving.get();
  LAMINA_ASSIGN_OR_RETURN(
      std::unique_ptr<Session> session,
      Session::create(*vm.chain, *vm.state, vm.descriptors,
                      std::span(buffer_.get(), pager::kFillBufferBytes), vm.options));
  LAMINA_RETURN_IF_ERROR(watch(vm.descriptors.userfaultfd, tag(vm.id, Source::kUserfaultfd)));
  LAMINA_RETURN_IF_ERROR(watch(vm.descriptors.pidfd, tag(vm.id, Source::kPidfd)));
  if (arriving) {
    LAMINA_RETURN_IF_ERROR(watch(arriving->fd(), tag(vm.id, Source::kArriving)));
  }
  const std::uint64_t id = vm.id;
  const bool populates = vm.options.plan != nullptr;
  Served& served =
      served_.emplace(id, Served{std::move(vm), std::move(arriving), std::move(session)})
          .first->second;
  if (populates) put_on(populating_, served, served.populates);
  with(served, [](Session&) {});
  return {};
}

void ServingThread::fill_deferred() {
  Served& served = *deferring_.front();
  with(served, [](Session& session) { session.fill_deferred(); });
  std::rotate(deferring_.begin(), std::next(deferring_.begin()), deferring_.end());
  const bool serving = served.session->state() == SessionState::kServing;
  if (serving && served.session->has_deferred()) return;
  served.defers = false;
  deferring_.pop_back();
}

bool ServingThread::populate(std::uint32_t blocks) {
  bool more = false;
  if (reader_) reader_->share_among(populating_.size());
  for (std::size_t i = 0; i < populating_.size();) {
    Served& served = *populating_[i];
    Session::Populated populated = Session::Populated::kDone;
    with(served, [&](Session&) { populated = populate_one(served, blocks); });
    // A session that waits may wait for the portions of one that is done.
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

Session::Populated ServingThread::populate_one(Served& served, std::uint32_t blocks) {
  Session& session = *served.session;
  const Session::Populated populated = session.populate(blocks);
  if (populated != Session::Populated::kDone || session.state() != SessionState::kServing ||
      served.vm.options.plan != &what_detaching_needs()) {
    return populated;
  }
  return session.detach() ? Session::Populated::kDone : Session::Populated::kMore;
}

bool ServingThread::reap() {
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
    for (auto* list : {&deferring_, &retrying_}) std::erase(*list, &served);
    done_.erase(done_.begin() + static_cast<std::ptrdiff_t>(i));
    served_.erase(vm.id);
    finish(vm, std::move(ended));
    reaped = true;
  }
  return reaped && !populating_.empty();
}

void ServingThread::finish(const VmToServe& vm, Ended ended) {
  // Others hold these open files too, so closing them does not take them out.
  for (const int fd : {vm.descriptors.userfaultfd, vm.descriptors.pidfd}) {
    static_cast<void>(::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr));
  }
  --load_;
  reports_.ended(std::move(ended));
}

}  // namespace lamina::server
