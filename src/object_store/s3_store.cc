#include "object_store/s3_store.h"

#include <array>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "object_store/answers.h"
#include "object_store/credential_cache.h"
#include "object_store/encoding.h"
#include "object_store/http_pool.h"
#include "object_store/key.h"
#include "object_store/s3_answer.h"
#include "object_store/s3_xml.h"

namespace lamina::object_store {
namespace {

std::chrono::sys_seconds system_time() {
  return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
}

class S3Store final : public ObjectStore {
 public:
  S3Store(S3Endpoint endpoint, S3Options options, std::unique_ptr<HttpPool> pool)
      : endpoint_(std::move(endpoint)),
        clock_(options.clock ? std::move(options.clock) : system_time),
        credentials_(std::move(options.credentials), [this] { return server_time(); }),
        pool_(std::move(pool)) {}

  RequestId start(Request request, Completion completion) override;
  void cancel(RequestId id) override;
  [[nodiscard]] int poll_fd() const override { return pool_->poll_fd(); }
  Status advance(std::chrono::milliseconds timeout) override { return pool_->advance(timeout); }
  [[nodiscard]] std::size_t pending() const override { return running_.size(); }
  [[nodiscard]] std::string name_of(std::string_view key) const override {
    return endpoint_.name + std::string(key);
  }

 private:
  using SteadyClock = std::chrono::steady_clock;

  struct Running {
    Request request;
    Completion completion;
    SteadyClock::time_point deadline;
    std::string completion_text;  ///< the body of kCompleteUpload
    std::array<std::byte, 1> first_byte{};
    /// A HEAD has failed: a GET of one byte asks why, since its answer has a body.
    bool asks_why = false;
    bool has_corrected_clock = false;
    bool has_renewed_credentials = false;
    HttpPool::Id http = 0;  ///< 0: waits for credentials
  };

  /// The server's time as far as it is known.
  [[nodiscard]] std::chrono::sys_seconds server_time() const { return clock_() + clock_offset_; }

  void send(RequestId id);
  void send_with(RequestId id, const Result<Credentials>& credentials);
  void take_answer(RequestId id, HttpAnswer http, const Credentials& credentials);
  /// True if the request was sent again, with another time or other credentials.
  bool try_again(RequestId id, Running& running, const HttpAnswer& http);
  void take_reason(RequestId id, Answer answer);
  void end(RequestId id, Answer answer);
  void end_soon(RequestId id, Answer answer);

  S3Endpoint endpoint_;
  std::function<std::chrono::sys_seconds()> clock_;
  std::chrono::seconds clock_offset_{};
  CredentialCache credentials_;
  RequestId next_id_ = 1;
  std::map<RequestId, std::unique_ptr<Running>> running_;
  // Last: its destructor ends what refers to the others.
  std::unique_ptr<HttpPool> pool_;
};

ObjectStore::RequestId S3Store::start(Request request, Completion completion) {
  const RequestId id = next_id_++;
  auto running = std::make_unique<Running>();
  running->deadline = SteadyClock::now() + request.limits.deadline;
  running->completion = std::move(completion);
  if (request.operation == Operation::kCompleteUpload) {
    running->completion_text = completion_of(request.parts);
  }
  running->request = std::move(request);
  const Status checked = check_request(running->request);
  running_.emplace(id, std::move(running));
  if (checked) {
    send(id);
  } else {
    end_soon(id, failed_answer(Outcome::kRefused, checked.error()));
  }
  return id;
}

void S3Store::cancel(RequestId id) {
  const auto found = running_.find(id);
  if (found == running_.end()) return;
  if (found->second->http != 0) pool_->cancel(found->second->http);
  running_.erase(found);
}

void S3Store::send(RequestId id) {
  running_.at(id)->http = 0;
  credentials_.get(*pool_, [this, id](const Result<Credentials>& credentials) {
    if (running_.contains(id)) send_with(id, credentials);  // it may have been cancelled
  });
}

void S3Store::send_with(RequestId id, const Result<Credentials>& credentials) {
  Running& running = *running_.at(id);
  if (!credentials) {
    const bool is_refused = credentials.error().kind == ErrorKind::kPermission;
    return end_soon(id, failed_answer(is_refused ? Outcome::kDenied : Outcome::kUnavailable,
                                      credentials.error()));
  }
  Request asked = running.request;
  std::span<const std::byte> body = asked.body;
  if (asked.operation == Operation::kCompleteUpload) {
    body = std::as_bytes(std::span(running.completion_text));
  }
  if (running.asks_why) {
    asked.operation = Operation::kGet;
    asked.range = ByteRange{.offset = 0, .length = 1};
    asked.buffer = running.first_byte;
  }
  auto http = contain("request", [&] {
    return http_request_of(endpoint_, asked, body,
                           {.credentials = *credentials, .now = server_time()});
  });
  if (!http) return end_soon(id, failed_answer(Outcome::kRefused, http.error()));
  http->limits.deadline =
      std::chrono::duration_cast<std::chrono::milliseconds>(running.deadline - SteadyClock::now());
  running.http = pool_->start(std::move(*http), running.request.is_urgent,
                              [this, id, used = *credentials](HttpAnswer answer) {
                                take_answer(id, std::move(answer), used);
                              });
}

void S3Store::take_answer(RequestId id, HttpAnswer http, const Credentials& credentials) {
  Running& running = *running_.at(id);
  if (try_again(id, running, http)) return;
  const bool failed_silently = running.request.operation == Operation::kHead &&
                               http.status >= 400 && http.status < 500 && http.status != 429;
  if (failed_silently && !running.asks_why) {
    running.asks_why = true;
    return send(id);
  }
  Request asked = running.request;
  if (running.asks_why) {
    asked.operation = Operation::kGet;
    asked.range = ByteRange{.offset = 0, .length = 1};
    asked.buffer = running.first_byte;
  }
  Answer answer =
      answer_of(asked, std::move(http), {.endpoint = endpoint_, .credentials = credentials});
  if (running.asks_why) return take_reason(id, std::move(answer));
  end(id, std::move(answer));
}

bool S3Store::try_again(RequestId id, Running& running, const HttpAnswer& http) {
  if (http.status != 400 && http.status != 401 && http.status != 403) return false;
  const std::string code = error_code_of(http);
  if (code == "RequestTimeTooSkewed" && !running.has_corrected_clock) {
    const auto date = time_of_http(http.header("date"));
    if (!date) return false;
    running.has_corrected_clock = true;
    running.asks_why = false;
    clock_offset_ = *date - clock_();
  } else if (code == "ExpiredToken" && !running.has_renewed_credentials) {
    running.has_renewed_credentials = true;
    running.asks_why = false;
    credentials_.discard();
  } else {
    return false;
  }
  send(id);
  return true;
}

void S3Store::take_reason(RequestId id, Answer answer) {
  // kCorrupt: status 416, an object without bytes.
  if (answer.outcome == Outcome::kDone || answer.outcome == Outcome::kCorrupt) {
    const auto time = answer.server_time;
    answer = failed_answer(Outcome::kUnavailable,
                           "head '" + name_of(running_.at(id)->request.key) +
                               "': the server denies it, but the object can be read");
    answer.server_time = time;
  }
  end(id, std::move(answer));
}

void S3Store::end(RequestId id, Answer answer) {
  const auto found = running_.find(id);
  const std::unique_ptr<Running> running = std::move(found->second);
  running_.erase(found);
  running->completion(std::move(answer));
}

void S3Store::end_soon(RequestId id, Answer answer) {
  running_.at(id)->http =
      pool_->post([this, id, answer = std::move(answer)]() mutable { end(id, std::move(answer)); });
}

}  // namespace

Result<std::unique_ptr<ObjectStore>> open_s3_store(S3Options options) {
  LAMINA_ASSIGN_OR_RETURN(S3Endpoint endpoint, endpoint_of(options.location));
  LAMINA_ASSIGN_OR_RETURN(std::unique_ptr<HttpPool> pool,
                          HttpPool::create({.max_parallel = options.max_parallel,
                                            .ca_file = options.location.ca_file}));
  return std::unique_ptr<ObjectStore>(
      std::make_unique<S3Store>(std::move(endpoint), std::move(options), std::move(pool)));
}

}  // namespace lamina::object_store
