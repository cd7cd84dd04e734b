// Which requests the console answers.
//
// A page of another site can make the user's browser send requests to a loopback address, also
// under a name of its own (DNS rebinding), and any user of the host can connect. So a request needs
// the secret of the printed URL, and must come from the console's own page.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/message.h"
#include "http/request_reader.h"

namespace lamina::ui {

/// A field that forms and other simple requests of other sites cannot have.
inline constexpr std::string_view kActionField = "lamina-action-token";

struct AccessRules {
  std::string token;               ///< the first part of every path
  std::vector<std::string> hosts;  ///< valid values of Host, in lower case: "127.0.0.1:4711", …
  /// What a request that changes something has in its field kActionField; empty: none is answered.
  std::string action_token{};
};

struct Refusal {
  unsigned status = 403;
  std::string message;
};

/// The reason to refuse the request; nullopt if it may be answered. GET and HEAD are allowed; POST
/// if there is an action token, and the request has it and the page's Origin.
std::optional<Refusal> refusal_of(const http::ServerRequest& request,
                                  const http::HeaderFields& fields, const AccessRules& rules);

/// The path below "/TOKEN/". REQUIRES: refusal_of() is nullopt.
std::string_view path_below_token(const http::ServerRequest& request, const AccessRules& rules);

}  // namespace lamina::ui
