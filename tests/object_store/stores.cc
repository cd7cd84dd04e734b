#include "object_store/stores.h"

#include <stdlib.h>

#include <stdexcept>

#include "object_store/blocking_store.h"
#include "object_store/digest.h"

namespace lamina::tests {

using object_store::BlockingStore;
using object_store::ObjectStore;
using object_store::process_environment;
using object_store::RemoteUrl;

std::optional<RemoteUrl> remote_under_test() {
  const char* const text = ::getenv("LAMINA_TEST_OBJECT_STORE");
  if (text == nullptr) return std::nullopt;
  return object_store::parse_remote_url(text, process_environment()).value();
}

std::vector<std::string> stores_under_test() {
  std::vector<std::string> kinds = {"directory"};
  if (remote_under_test()) kinds.emplace_back("remote");
  return kinds;
}

StoreUnderTest::StoreUnderTest(const std::string& kind) {
  if (kind == "directory") {
    scratch_ = std::make_unique<ScratchDirectory>();
    url_.directory = scratch_->path().string();
  } else {
    url_ = *remote_under_test();
    url_.s3.prefix += object_store::random_hex(8).value() + "/";
  }
  store_ = open();
}

StoreUnderTest::~StoreUnderTest() {
  store_.reset();
  if (is_directory()) return;
  const auto store = object_store::open_remote(url_, process_environment());
  if (!store) return;
  BlockingStore blocking(**store);
  const auto entries = blocking.list_all("");
  if (!entries) return;
  for (const auto& entry : *entries) static_cast<void>(blocking.remove(entry.key));
}

std::unique_ptr<ObjectStore> StoreUnderTest::open() const {
  auto store = object_store::open_remote(url_, process_environment());
  if (!store) throw std::runtime_error(store.error().message);
  return std::move(*store);
}

}  // namespace lamina::tests
