#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "lamina/result.h"
#include "object_store/credential_source.h"

namespace lamina::object_store {

/// Keeps credentials, and fetches others before they expire: in the background while they are still
/// valid. Not thread-safe.
class CredentialCache {
 public:
  using Clock = std::function<std::chrono::sys_seconds()>;

  CredentialCache(std::unique_ptr<CredentialSource> source, Clock clock)
      : source_(std::move(source)), clock_(std::move(clock)) {}
  CredentialCache(const CredentialCache&) = delete;
  CredentialCache& operator=(const CredentialCache&) = delete;
  CredentialCache(CredentialCache&&) = delete;
  CredentialCache& operator=(CredentialCache&&) = delete;
  ~CredentialCache() = default;

  /// Credentials that are valid now, at once if there are any.
  void get(HttpPool& pool, CredentialSource::Completion completion);

  /// A server says that they have expired: the next get() fetches others.
  void discard() { current_.reset(); }

 private:
  void fetch(HttpPool& pool);
  void take(Result<Credentials> fetched);

  std::unique_ptr<CredentialSource> source_;
  Clock clock_;
  std::optional<Credentials> current_;
  bool is_fetching_ = false;
  std::chrono::sys_seconds next_background_fetch_{};
  std::vector<CredentialSource::Completion> waiting_;
};

}  // namespace lamina::object_store
