// The fields of a request: of a JSON object in its body, or of its query. What is not asked for by
// the time of end() is refused: a misspelt field must not pass for one that was not given.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "daemon/http_server.h"
#include "lamina/result.h"
#include "report/error_json.h"

namespace lamina::daemon {

enum class Need : std::uint8_t { kMay, kMust };

class Fields {
 public:
  /// kUsage when the body is no JSON object; an empty one has no fields. Requests whose fields are
  /// in the body have no query.
  static Result<Fields> of_body(const Request& request);
  /// kUsage when there is a body.
  static Result<Fields> of_query(const Request& request);

  // Each sets `value` when the field is there; what is wrong with it is kept for end().

  /// Not empty, and without NUL.
  void text(const std::string& name, std::string& value, Need need = Need::kMay);
  void texts(const std::string& name, std::vector<std::string>& values, Need need = Need::kMay);
  void flag(const std::string& name, bool& value);
  void number(const std::string& name, std::uint64_t& value, std::uint64_t least,
              std::uint64_t most);
  template <typename T>
  void choice(const std::string& name, T& value,
              const std::vector<std::pair<std::string, T>>& words) {
    std::string given;
    text(name, given);
    if (given.empty()) return;
    std::string list;
    for (const auto& [word, meaning] : words) {
      if (word == given) {
        value = meaning;
        return;
      }
      list += (list.empty() ? "" : ", ") + word;
    }
    wrong(name, "is none of " + list);
  }
  /// Says what is wrong with a field's value, unless something was wrong before.
  void wrong(const std::string& name, const std::string& what);

  /// kUsage for a field that nobody has asked for, else for the first thing that was wrong.
  Status end();

 private:
  Fields(report::Json object, bool is_query) : object_(std::move(object)), is_query_(is_query) {}
  const report::Json* find(const std::string& name);
  bool is_good_text(const std::string& name, const report::Json& value);

  report::Json object_;
  bool is_query_ = false;  ///< all values are texts
  std::set<std::string> known_;
  std::optional<std::string> wrong_;
};

}  // namespace lamina::daemon
