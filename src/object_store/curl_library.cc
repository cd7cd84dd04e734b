#include "object_store/curl_library.h"

#include <dlfcn.h>

#include <optional>
#include <string>

#include "base/error.h"
#include "base/mutex.h"

namespace lamina::object_store {
namespace {

/// Its name since 2006; it has not broken its binary interface since.
constexpr const char* kCurlName = "libcurl.so.4";
/// CURLOPT_PROTOCOLS_STR.
constexpr unsigned kMinCurlVersion = 0x075500;

std::unexpected<Error> no_curl(std::string_view reason) {
  return with_remedy(fail(ErrorKind::kUnsupported, "{}: {}", kCurlName, reason),
                     "install libcurl 7.85 or later (Debian: libcurl4)");
}

/// Looks functions up; remembers whether one is missing.
class SymbolReader {
 public:
  explicit SymbolReader(void* library) : library_(library) {}

  template <typename Function>
  void read(Function& function, const char* name) {
    function = reinterpret_cast<Function>(::dlsym(library_, name));
    if (function == nullptr && missing_.empty()) missing_ = name;
  }

  [[nodiscard]] const std::string& missing() const { return missing_; }

 private:
  void* library_;
  std::string missing_;
};

Result<CurlLibrary> read_curl() {
  void* const handle = ::dlopen(kCurlName, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return no_curl("it cannot be loaded");
  SymbolReader symbols(handle);
  CurlLibrary curl;
  decltype(&::curl_version_info) version_info = nullptr;
  symbols.read(version_info, "curl_version_info");
  symbols.read(curl.global_init, "curl_global_init");
  symbols.read(curl.easy_init, "curl_easy_init");
  symbols.read(curl.easy_setopt, "curl_easy_setopt");
  symbols.read(curl.easy_getinfo, "curl_easy_getinfo");
  symbols.read(curl.easy_strerror, "curl_easy_strerror");
  symbols.read(curl.easy_cleanup, "curl_easy_cleanup");
  symbols.read(curl.multi_init, "curl_multi_init");
  symbols.read(curl.multi_setopt, "curl_multi_setopt");
  symbols.read(curl.multi_add_handle, "curl_multi_add_handle");
  symbols.read(curl.multi_remove_handle, "curl_multi_remove_handle");
  symbols.read(curl.multi_socket_action, "curl_multi_socket_action");
  symbols.read(curl.multi_info_read, "curl_multi_info_read");
  symbols.read(curl.multi_strerror, "curl_multi_strerror");
  symbols.read(curl.multi_cleanup, "curl_multi_cleanup");
  symbols.read(curl.share_init, "curl_share_init");
  symbols.read(curl.share_setopt, "curl_share_setopt");
  symbols.read(curl.share_cleanup, "curl_share_cleanup");
  symbols.read(curl.slist_append, "curl_slist_append");
  symbols.read(curl.slist_free_all, "curl_slist_free_all");
  if (!symbols.missing().empty()) return no_curl("it has no " + symbols.missing());
  const curl_version_info_data* const version = version_info(CURLVERSION_NOW);
  if (version->version_num < kMinCurlVersion) {
    return no_curl(std::string("it is version ") + version->version);
  }
  const CURLcode initialized = curl.global_init(CURL_GLOBAL_DEFAULT);
  if (initialized != CURLE_OK) return no_curl(curl.easy_strerror(initialized));
  return curl;
}

}  // namespace

Result<const CurlLibrary*> load_curl() {
  static Mutex mutex;
  static std::optional<CurlLibrary> library;
  const MutexLock lock(mutex);
  if (!library) {
    // A failure is not kept: it may pass (no descriptor was left, the package is installed now).
    LAMINA_ASSIGN_OR_RETURN(library, read_curl());
  }
  return &*library;
}

}  // namespace lamina::object_store
