#include "object_store/http_pool.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "base/error.h"
#include "object_store/curl_library.h"
#include "object_store/curl_transfer.h"
#include "object_store/poller.h"

namespace lamina::object_store {
namespace {

using Clock = std::chrono::steady_clock;

class CurlPool final : public HttpPool {
 public:
  CurlPool(const CurlLibrary& curl, Options options, Poller poller)
      : curl_(curl), options_(std::move(options)), poller_(std::move(poller)) {}
  CurlPool(const CurlPool&) = delete;
  CurlPool& operator=(const CurlPool&) = delete;
  CurlPool(CurlPool&&) = delete;
  CurlPool& operator=(CurlPool&&) = delete;
  ~CurlPool() override;

  Status prepare();
  Id start(HttpRequest request, bool is_urgent, Completion completion) override;
  Id post(std::function<void()> task) override;
  void cancel(Id id) override;
  [[nodiscard]] int poll_fd() const override { return poller_.fd(); }
  Status advance(std::chrono::milliseconds timeout) override;

 private:
  using TransferPtr = std::unique_ptr<CurlTransfer>;
  struct Finished {
    Id id = 0;
    Completion completion;
    HttpAnswer answer;
  };

  static int on_socket(CURL* easy, curl_socket_t fd, int what, void* self, void* unused);
  static int on_timer(CURLM* multi, long timeout_ms, void* self);

  [[nodiscard]] Status multi_status(CURLMcode code) const;
  void launch_waiting();
  void launch(TransferPtr transfer);
  Status take_events(const std::vector<Poller::Ready>& ready);
  void take_finished();
  void end_late_ones(Clock::time_point now);
  void finish(TransferPtr transfer, HttpAnswer answer);
  TransferPtr take_running(Id id);
  void deliver();
  void set_wake();

  const CurlLibrary& curl_;
  Options options_;
  Poller poller_;
  ShareHandle share_;
  MultiHandle multi_;
  std::optional<Clock::time_point> curl_wake_;
  Id next_id_ = 1;
  std::deque<TransferPtr> waiting_;
  std::map<Id, TransferPtr> running_;
  std::deque<Finished> finished_;
};

CurlPool::~CurlPool() {
  // The handles leave before the multi handle, and that before what they share.
  while (!running_.empty()) static_cast<void>(take_running(running_.begin()->first));
  multi_.reset();
}

Status CurlPool::multi_status(CURLMcode code) const {
  if (code == CURLM_OK) return {};
  return fail(ErrorKind::kFailed, "libcurl: {}", curl_.multi_strerror(code));
}

Status CurlPool::prepare() {
  share_ = ShareHandle(curl_.share_init(), curl_.share_cleanup);
  multi_ = MultiHandle(curl_.multi_init(), curl_.multi_cleanup);
  if (share_.get() == nullptr || multi_.get() == nullptr) {
    return fail(ErrorKind::kFailed, "libcurl has no memory");
  }
  // TLS sessions belong to an easy handle otherwise, and each request has its own. DNS results and
  // connections belong to the multi handle.
  static_cast<void>(curl_.share_setopt(share_.get(), CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION));
  const auto set = [&](CURLMoption option, auto value) {
    static_cast<void>(curl_.multi_setopt(multi_.get(), option, value));
  };
  set(CURLMOPT_SOCKETFUNCTION, &CurlPool::on_socket);
  set(CURLMOPT_SOCKETDATA, this);
  set(CURLMOPT_TIMERFUNCTION, &CurlPool::on_timer);
  set(CURLMOPT_TIMERDATA, this);
  set(CURLMOPT_MAXCONNECTS, static_cast<long>(options_.max_parallel));
  set(CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
  return {};
}

int CurlPool::on_socket(CURL* /*easy*/, curl_socket_t fd, int what, void* self, void* /*unused*/) {
  auto& pool = *static_cast<CurlPool*>(self);
  if (what == CURL_POLL_REMOVE) {
    pool.poller_.forget(fd);
    return 0;
  }
  const bool for_reading = what == CURL_POLL_IN || what == CURL_POLL_INOUT;
  const bool for_writing = what == CURL_POLL_OUT || what == CURL_POLL_INOUT;
  return pool.poller_.watch(fd, for_reading, for_writing) ? 0 : -1;
}

int CurlPool::on_timer(CURLM* /*multi*/, long timeout_ms, void* self) {
  auto& pool = *static_cast<CurlPool*>(self);
  pool.curl_wake_.reset();
  if (timeout_ms >= 0) pool.curl_wake_ = Clock::now() + std::chrono::milliseconds(timeout_ms);
  return 0;
}

HttpPool::Id CurlPool::start(HttpRequest request, bool is_urgent, Completion completion) {
  const Id id = next_id_++;
  auto transfer =
      std::make_unique<CurlTransfer>(curl_, id, std::move(request), std::move(completion));
  if (is_urgent) {
    waiting_.push_front(std::move(transfer));
  } else {
    waiting_.push_back(std::move(transfer));
  }
  launch_waiting();
  set_wake();
  return id;
}

HttpPool::Id CurlPool::post(std::function<void()> task) {
  const Id id = next_id_++;
  finished_.push_back(Finished{
      .id = id,
      .completion = [task = std::move(task)](HttpAnswer) { task(); },  // NOLINT(performance-*)
      .answer = {}});
  set_wake();
  return id;
}

void CurlPool::cancel(Id id) {
  static_cast<void>(take_running(id));
  std::erase_if(waiting_, [&](const TransferPtr& transfer) { return transfer->id() == id; });
  std::erase_if(finished_, [&](const Finished& finished) { return finished.id == id; });
}

void CurlPool::launch_waiting() {
  while (!waiting_.empty() && running_.size() < options_.max_parallel) {
    TransferPtr next = std::move(waiting_.front());
    waiting_.pop_front();
    launch(std::move(next));
  }
}

void CurlPool::launch(TransferPtr transfer) {
  Status begun = transfer->prepare(share_.get(), options_.ca_file);
  if (begun) begun = multi_status(curl_.multi_add_handle(multi_.get(), transfer->handle()));
  if (begun) {
    const Id id = transfer->id();
    running_.emplace(id, std::move(transfer));
    return;
  }
  HttpAnswer answer;
  answer.failure = HttpFailure::kLocal;
  answer.message = begun.error().message;
  finish(std::move(transfer), std::move(answer));
}

Status CurlPool::advance(std::chrono::milliseconds timeout) {
  if (!finished_.empty()) timeout = std::chrono::milliseconds(0);
  LAMINA_ASSIGN_OR_RETURN(const std::vector<Poller::Ready> ready, poller_.wait(timeout));
  const Status taken = take_events(ready);
  take_finished();
  end_late_ones(Clock::now());
  launch_waiting();
  deliver();
  set_wake();
  return taken;
}

Status CurlPool::take_events(const std::vector<Poller::Ready>& ready) {
  int running = 0;
  for (const Poller::Ready& one : ready) {
    const int events = (one.readable ? CURL_CSELECT_IN : 0) |
                       (one.writable ? CURL_CSELECT_OUT : 0) | (one.broken ? CURL_CSELECT_ERR : 0);
    LAMINA_RETURN_IF_ERROR(
        multi_status(curl_.multi_socket_action(multi_.get(), one.fd, events, &running)));
  }
  if (!curl_wake_ || Clock::now() < *curl_wake_) return {};
  curl_wake_.reset();
  return multi_status(curl_.multi_socket_action(multi_.get(), CURL_SOCKET_TIMEOUT, 0, &running));
}

void CurlPool::take_finished() {
  int left = 0;
  while (const CURLMsg* message = curl_.multi_info_read(multi_.get(), &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode code = message->data.result;
    CurlTransfer* ended = nullptr;
    static_cast<void>(curl_.easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &ended));
    HttpAnswer answer = ended->finish(code);
    finish(take_running(ended->id()), std::move(answer));
  }
}

void CurlPool::end_late_ones(Clock::time_point now) {
  std::vector<Id> slow;
  for (const auto& [id, transfer] : running_) {
    if (transfer->is_stalled(now)) slow.push_back(id);
  }
  for (const Id id : slow) {
    HttpAnswer answer = running_.at(id)->time_out("the transfer is slower than its limit");
    finish(take_running(id), std::move(answer));
  }
  for (auto at = waiting_.begin(); at != waiting_.end();) {
    if (now < (*at)->deadline()) {
      ++at;
      continue;
    }
    TransferPtr late = std::move(*at);
    at = waiting_.erase(at);
    HttpAnswer answer = late->time_out("its time ran out before a connection was free");
    finish(std::move(late), std::move(answer));
  }
}

CurlPool::TransferPtr CurlPool::take_running(Id id) {
  const auto found = running_.find(id);
  if (found == running_.end()) return nullptr;
  TransferPtr transfer = std::move(found->second);
  running_.erase(found);
  static_cast<void>(curl_.multi_remove_handle(multi_.get(), transfer->handle()));
  return transfer;
}

void CurlPool::finish(TransferPtr transfer, HttpAnswer answer) {
  finished_.push_back(Finished{.id = transfer->id(),
                               .completion = std::move(transfer->completion()),
                               .answer = std::move(answer)});
}

void CurlPool::deliver() {
  // Only what has ended so far: a completion that starts a request that fails at once, again and
  // again, must not keep this from returning.
  for (std::size_t count = finished_.size(); count > 0 && !finished_.empty(); --count) {
    Finished finished = std::move(finished_.front());
    finished_.pop_front();
    finished.completion(std::move(finished.answer));
  }
}

void CurlPool::set_wake() {
  std::optional<Clock::time_point> wake = curl_wake_;
  const auto sooner = [&](Clock::time_point time) {
    if (!wake || time < *wake) wake = time;
  };
  if (!finished_.empty()) sooner(Clock::now());
  for (const auto& [id, transfer] : running_) sooner(transfer->next_check());
  for (const TransferPtr& transfer : waiting_) sooner(transfer->deadline());
  poller_.wake_at(wake);
}

}  // namespace

Result<std::unique_ptr<HttpPool>> HttpPool::create(Options options) {
  LAMINA_ASSIGN_OR_RETURN(const CurlLibrary* curl, load_curl());
  LAMINA_ASSIGN_OR_RETURN(Poller poller, Poller::create());
  auto pool = std::make_unique<CurlPool>(*curl, std::move(options), std::move(poller));
  LAMINA_RETURN_IF_ERROR(pool->prepare());
  return std::unique_ptr<HttpPool>(std::move(pool));
}

}  // namespace lamina::object_store
