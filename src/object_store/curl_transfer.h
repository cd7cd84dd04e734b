// One HTTP request as libcurl carries it out.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "lamina/result.h"
#include "object_store/curl_library.h"
#include "object_store/http_message.h"

namespace lamina::object_store {

/// The handle, what its callbacks read and write, and its limits on slowness.
class CurlTransfer {
 public:
  using Clock = std::chrono::steady_clock;
  using Id = std::uint64_t;
  using Completion = std::function<void(HttpAnswer)>;

  CurlTransfer(const CurlLibrary& curl, Id id, HttpRequest request, Completion completion);
  CurlTransfer(const CurlTransfer&) = delete;
  CurlTransfer& operator=(const CurlTransfer&) = delete;
  CurlTransfer(CurlTransfer&&) = delete;
  CurlTransfer& operator=(CurlTransfer&&) = delete;
  ~CurlTransfer() = default;

  /// Makes the handle. kFailed if there is no memory. `share` and `ca_file` as libcurl's options.
  Status prepare(CURLSH* share, const std::string& ca_file);

  [[nodiscard]] Id id() const { return id_; }
  [[nodiscard]] CURL* handle() const { return handle_.get(); }
  [[nodiscard]] Completion& completion() { return completion_; }
  /// When the request ends if it does not end before.
  [[nodiscard]] Clock::time_point deadline() const { return deadline_; }
  /// When is_stalled() has to be asked next.
  [[nodiscard]] Clock::time_point next_check() const { return window_end_; }
  /// True if too few bytes have moved in the time that has now passed.
  bool is_stalled(Clock::time_point now);

  /// The answer after libcurl has ended the transfer.
  HttpAnswer finish(CURLcode code);
  /// The answer of a request that is ended by a limit, whether it has begun or not.
  HttpAnswer time_out(std::string message);

 private:
  static std::size_t on_header(char* data, std::size_t size, std::size_t count, void* self);
  static std::size_t on_body(char* data, std::size_t size, std::size_t count, void* self);
  static std::size_t on_read(char* data, std::size_t size, std::size_t count, void* self);
  static int on_seek(void* self, curl_off_t offset, int origin);

  void set_body_options();
  Status set_headers();
  bool take_header(std::string_view line);
  bool take_body(std::string_view piece);
  [[nodiscard]] bool is_success() const { return answer_.status >= 200 && answer_.status < 300; }
  [[nodiscard]] bool was_sent() const;
  HttpAnswer failed(HttpFailure failure, std::string message);

  void set(CURLoption option, auto value);

  const CurlLibrary& curl_;
  Id id_;
  HttpRequest request_;
  Completion completion_;
  HeaderList headers_;
  EasyHandle handle_;  // is freed first
  HttpAnswer answer_;
  std::size_t header_bytes_ = 0;
  std::size_t body_sent_ = 0;  ///< given to libcurl
  std::uint64_t moved_ = 0;    ///< bytes in both directions
  std::uint64_t moved_before_ = 0;
  Clock::time_point deadline_;
  Clock::time_point window_end_;
  bool is_too_long_ = false;
  std::array<char, CURL_ERROR_SIZE> error_text_{};
};

}  // namespace lamina::object_store
