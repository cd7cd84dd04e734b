// The console's responses.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "http/message.h"
#include "http/request_reader.h"
#include "lamina/uuid.h"
#include "ui/access.h"
#include "ui/daemon_client.h"
#include "ui/stop_flag.h"
#include "ui/store_model.h"

namespace lamina::ui {

/// Thread-safe.
class Console {
 public:
  Console(Source source, AccessRules rules)
      : source_(std::move(source)), rules_(std::move(rules)), cache_(source_.store) {}

  /// Lists the store, so that the first page is quick. kNotFound: there is no such store.
  Status prepare() {
    LAMINA_RETURN_IF_ERROR(cache_.get());
    return {};
  }

  /// The refusal of a request that is not from the console's own page; see access.h.
  [[nodiscard]] std::optional<http::ServerResponse> check(const http::ServerRequest& request,
                                                          const http::HeaderFields& fields) const;

  // REQUIRES: check() is nullopt.
  [[nodiscard]] http::ServerResponse handle(const http::ServerRequest& request);
  /// True if the request reads neither the store nor the daemon.
  [[nodiscard]] bool is_quick(const http::ServerRequest& request) const;

  /// True if the request changes the store, which may take minutes.
  [[nodiscard]] static bool is_action(const http::ServerRequest& request);
  /// True if the request waits for the daemon, which may be slow.
  [[nodiscard]] bool is_live(const http::ServerRequest& request) const;

  /// Interrupts actions and waits for the daemon, now and from now on. Their requests still get
  /// responses.
  void stop() { stop_.stop(); }

  /// Fields of every response: what the browser may do with it.
  [[nodiscard]] http::HeaderFields response_fields() const;
  /// A refusal, as text for a person.
  static http::ServerResponse refused(unsigned status, const std::string& message);

 private:
  [[nodiscard]] http::ServerResponse api(const http::ServerRequest& request, std::string_view path);
  [[nodiscard]] http::ServerResponse action(const http::ServerRequest& request,
                                            std::string_view path);
  [[nodiscard]] http::ServerResponse plain(const http::ServerRequest& request,
                                           std::string_view path);
  [[nodiscard]] http::ServerResponse live(const http::ServerRequest& request);
  [[nodiscard]] Result<std::string> api_text(const http::ServerRequest& request,
                                             std::string_view path);

  const Source source_;
  const AccessRules rules_;
  /// The page's styles are in the page, since a file of their own would delay its first paint, and
  /// the policy permits those with this nonce only.
  const std::string style_nonce_ = Uuid::random().to_string();
  StoreCache cache_;
  StopFlag stop_;
};

}  // namespace lamina::ui
