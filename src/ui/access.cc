#include "ui/access.h"

#include <algorithm>
#include <cctype>
#include <cstddef>

namespace lamina::ui {
namespace {

std::string lower(std::string_view text) {
  std::string made(text);
  std::transform(made.begin(), made.end(), made.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  return made;
}

/// Compares in a time that does not depend on where the texts differ.
bool is_secret(std::string_view given, std::string_view secret) {
  if (given.size() != secret.size()) return false;
  unsigned difference = 0;
  for (std::size_t i = 0; i < given.size(); ++i) {
    difference |= static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(secret[i]);
  }
  return difference == 0;
}

std::size_t count_of_field(const http::HeaderFields& fields, std::string_view name) {
  return static_cast<std::size_t>(std::count_if(
      fields.begin(), fields.end(), [name](const auto& field) { return field.first == name; }));
}

/// The value of a field; empty if it is absent. `name` in lower case.
std::string_view field_of(const http::HeaderFields& fields, std::string_view name) {
  for (const auto& [field, value] : fields) {
    if (field == name) return value;
  }
  return {};
}

constexpr unsigned kForbidden = 403;
constexpr unsigned kNotAllowed = 405;

/// Of a request with a valid token, Host and, if it has one, Origin.
std::optional<Refusal> refusal_of_method(const http::ServerRequest& request,
                                         const http::HeaderFields& fields,
                                         const AccessRules& rules) {
  if (request.method == "GET" || request.method == "HEAD") return std::nullopt;
  if (rules.action_token.empty()) {
    return Refusal{kNotAllowed, "the console only reads: GET and HEAD"};
  }
  if (request.method != "POST") return Refusal{kNotAllowed, "GET, HEAD and POST are answered"};
  // Browsers send it with every POST.
  if (count_of_field(fields, "origin") != 1) {
    return Refusal{kForbidden, "a request that changes something needs an Origin"};
  }
  if (count_of_field(fields, kActionField) != 1 ||
      !is_secret(field_of(fields, kActionField), rules.action_token)) {
    return Refusal{kForbidden, "the token for actions is missing or wrong; reload the page"};
  }
  return std::nullopt;
}

}  // namespace

std::optional<Refusal> refusal_of(const http::ServerRequest& request,
                                  const http::HeaderFields& fields, const AccessRules& rules) {
  const std::string host = lower(field_of(fields, "host"));
  if (count_of_field(fields, "host") != 1 ||
      std::find(rules.hosts.begin(), rules.hosts.end(), host) == rules.hosts.end()) {
    return Refusal{kForbidden, "the Host of the request is not this server's address"};
  }
  if (count_of_field(fields, "origin") > 0 &&
      lower(field_of(fields, "origin")) != "http://" + host) {
    return Refusal{kForbidden, "the request comes from a page of another site"};
  }
  const std::string_view site = field_of(fields, "sec-fetch-site");
  if (!site.empty() && site != "same-origin" && site != "none") {
    return Refusal{kForbidden, "the request comes from a page of another site"};
  }
  const std::string_view path = request.path;
  const std::size_t end = path.find('/', 1);
  if (!path.starts_with('/') || end == std::string_view::npos ||
      !is_secret(path.substr(1, end - 1), rules.token)) {
    return Refusal{kForbidden, "the token is missing or wrong; open the URL that lamina printed"};
  }
  return refusal_of_method(request, fields, rules);
}

std::string_view path_below_token(const http::ServerRequest& request, const AccessRules& rules) {
  return std::string_view(request.path).substr(rules.token.size() + 2);
}

}  // namespace lamina::ui
