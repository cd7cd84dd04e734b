// One place that credentials come from.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "lamina/result.h"
#include "object_store/http_pool.h"
#include "object_store/sigv4.h"

namespace lamina::object_store {

/// Value of an environment variable; nullopt if it is unset or empty.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;

/// That of this process. Not thread-safe beside setenv(3).
Environment process_environment();

/// A source of credentials. Not thread-safe.
class CredentialSource {
 public:
  /// Called from HttpPool::advance(), or before fetch() returns.
  using Completion = std::function<void(Result<Credentials>)>;

  CredentialSource() = default;
  CredentialSource(const CredentialSource&) = delete;
  CredentialSource& operator=(const CredentialSource&) = delete;
  CredentialSource(CredentialSource&&) = delete;
  CredentialSource& operator=(CredentialSource&&) = delete;
  virtual ~CredentialSource() = default;

  /// Fetches them anew. kPermission if they are refused or malformed, kFailed if the source cannot
  /// be reached. One call at a time; neither the source nor the pool is destroyed meanwhile.
  virtual void fetch(HttpPool& pool, Completion completion) = 0;
};

/// Always the same credentials.
std::unique_ptr<CredentialSource> static_source(Credentials credentials);

}  // namespace lamina::object_store
