// libcurl, loaded when the first S3 store is opened.
//
// Programs do not link it: with its 30 libraries it would cost every start of a command or a page
// server three times what the rest does (docs/decisions/0027-object-stores.md).
#pragma once

#include <curl/curl.h>

#include <utility>

#include "lamina/result.h"

namespace lamina::object_store {

/// The functions of libcurl that are used, with their own names less "curl_".
struct CurlLibrary {
  decltype(&::curl_global_init) global_init = nullptr;
  decltype(&::curl_easy_init) easy_init = nullptr;
  decltype(&::curl_easy_setopt) easy_setopt = nullptr;
  decltype(&::curl_easy_getinfo) easy_getinfo = nullptr;
  decltype(&::curl_easy_strerror) easy_strerror = nullptr;
  decltype(&::curl_easy_cleanup) easy_cleanup = nullptr;
  decltype(&::curl_multi_init) multi_init = nullptr;
  decltype(&::curl_multi_setopt) multi_setopt = nullptr;
  decltype(&::curl_multi_add_handle) multi_add_handle = nullptr;
  decltype(&::curl_multi_remove_handle) multi_remove_handle = nullptr;
  decltype(&::curl_multi_socket_action) multi_socket_action = nullptr;
  decltype(&::curl_multi_info_read) multi_info_read = nullptr;
  decltype(&::curl_multi_strerror) multi_strerror = nullptr;
  decltype(&::curl_multi_cleanup) multi_cleanup = nullptr;
  decltype(&::curl_share_init) share_init = nullptr;
  decltype(&::curl_share_setopt) share_setopt = nullptr;
  decltype(&::curl_share_cleanup) share_cleanup = nullptr;
  decltype(&::curl_slist_append) slist_append = nullptr;
  decltype(&::curl_slist_free_all) slist_free_all = nullptr;
};

/// Loads and initializes it; later calls return the same. It stays loaded. kUnsupported if it is
/// not installed or older than 7.85. Thread-safe.
Result<const CurlLibrary*> load_curl();

/// What a function of the library frees.
template <typename T, typename Free>
class CurlOwner {
 public:
  CurlOwner() = default;
  CurlOwner(T* handle, Free free) : handle_(handle), free_(free) {}
  CurlOwner(CurlOwner&& other) noexcept
      : handle_(std::exchange(other.handle_, nullptr)), free_(other.free_) {}
  CurlOwner& operator=(CurlOwner&& other) noexcept {
    if (this != &other) {
      reset();
      handle_ = std::exchange(other.handle_, nullptr);
      free_ = other.free_;
    }
    return *this;
  }
  CurlOwner(const CurlOwner&) = delete;
  CurlOwner& operator=(const CurlOwner&) = delete;
  ~CurlOwner() { reset(); }

  [[nodiscard]] T* get() const { return handle_; }
  void reset() {
    if (handle_ != nullptr) static_cast<void>(free_(handle_));
    handle_ = nullptr;
  }
  T* release() { return std::exchange(handle_, nullptr); }

 private:
  T* handle_ = nullptr;
  Free free_ = nullptr;
};

using EasyHandle = CurlOwner<CURL, decltype(&::curl_easy_cleanup)>;
using MultiHandle = CurlOwner<CURLM, decltype(&::curl_multi_cleanup)>;
using ShareHandle = CurlOwner<CURLSH, decltype(&::curl_share_cleanup)>;
using HeaderList = CurlOwner<curl_slist, decltype(&::curl_slist_free_all)>;

}  // namespace lamina::object_store
