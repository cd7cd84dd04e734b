#include "object_store/credential_source.h"

#include <stdlib.h>

#include <utility>

namespace lamina::object_store {
namespace {

class StaticSource final : public CredentialSource {
 public:
  explicit StaticSource(Credentials credentials) : credentials_(std::move(credentials)) {}
  void fetch(HttpPool& /*pool*/, Completion completion) override { completion(credentials_); }

 private:
  Credentials credentials_;
};

}  // namespace

Environment process_environment() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* const value = ::getenv(name.c_str());  // NOLINT(concurrency-mt-unsafe)
    if (value == nullptr || *value == '\0') return std::nullopt;
    return std::string(value);
  };
}

std::unique_ptr<CredentialSource> static_source(Credentials credentials) {
  return std::make_unique<StaticSource>(std::move(credentials));
}

}  // namespace lamina::object_store
