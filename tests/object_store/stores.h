// The stores that the conformance suite runs over.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "object_store/object_store.h"
#include "object_store/remote_url.h"
#include "scratch_directory.h"

namespace lamina::tests {

/// The URL in $LAMINA_TEST_OBJECT_STORE, credentials in the usual variables; nullopt if it is not
/// set. Aborts if it is malformed.
std::optional<object_store::RemoteUrl> remote_under_test();

/// "directory", and "remote" if there is one.
std::vector<std::string> stores_under_test();

/// An empty part of a store, for one test.
class StoreUnderTest {
 public:
  /// Throws std::runtime_error if it cannot be opened.
  explicit StoreUnderTest(const std::string& kind);
  StoreUnderTest(const StoreUnderTest&) = delete;
  StoreUnderTest& operator=(const StoreUnderTest&) = delete;
  StoreUnderTest(StoreUnderTest&&) = delete;
  StoreUnderTest& operator=(StoreUnderTest&&) = delete;
  ~StoreUnderTest();

  [[nodiscard]] object_store::ObjectStore& store() { return *store_; }
  /// Another one of the same objects.
  [[nodiscard]] std::unique_ptr<object_store::ObjectStore> open() const;
  [[nodiscard]] bool is_directory() const { return !url_.directory.empty(); }
  [[nodiscard]] const object_store::RemoteUrl& url() const { return url_; }

 private:
  std::unique_ptr<ScratchDirectory> scratch_;  ///< of a directory
  object_store::RemoteUrl url_;
  std::unique_ptr<object_store::ObjectStore> store_;
};

}  // namespace lamina::tests
