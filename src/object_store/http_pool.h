// HTTP requests in parallel over one pool of connections: libcurl's multi interface on a descriptor
// of its own.
//
// HTTP/1.1 only, so that two requests at a time are on two connections: a lost packet of one does
// not delay the other. Redirects are not followed. Nothing is repeated, with one exception: libcurl
// sends a request again on a new connection if a connection that it had kept turns out to be closed
// before any byte of an answer. HttpRequest::is_sent_once excludes that.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "lamina/result.h"
#include "object_store/http_message.h"

namespace lamina::object_store {

/// Not thread-safe.
class HttpPool {
 public:
  using Id = std::uint64_t;
  /// Called from advance(). May start and cancel requests.
  using Completion = std::function<void(HttpAnswer)>;

  struct Options {
    /// Requests that run at a time; others wait for one of them to end.
    std::size_t max_parallel = 16;
    std::string ca_file{};  ///< PEM; "": the system's
  };

  /// kUnsupported without libcurl.
  static Result<std::unique_ptr<HttpPool>> create(Options options);

  HttpPool() = default;
  HttpPool(const HttpPool&) = delete;
  HttpPool& operator=(const HttpPool&) = delete;
  HttpPool(HttpPool&&) = delete;
  HttpPool& operator=(HttpPool&&) = delete;
  virtual ~HttpPool() = default;

  /// Starts a request, or queues it: at the front if it is urgent.
  virtual Id start(HttpRequest request, bool is_urgent, Completion completion) = 0;
  /// Calls `task` from the next advance(), which comes soon.
  virtual Id post(std::function<void()> task) = 0;
  virtual void cancel(Id id) = 0;
  [[nodiscard]] virtual int poll_fd() const = 0;
  /// As ObjectStore::advance().
  virtual Status advance(std::chrono::milliseconds timeout) = 0;
};

}  // namespace lamina::object_store
