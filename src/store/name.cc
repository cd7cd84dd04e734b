#include "store/name.h"

#include <algorithm>
#include <string_view>

#include "base/error.h"

namespace lamina::store {
namespace {

constexpr std::size_t kMaxNameBytes = 200;
constexpr std::string_view kPunctuation = "._-+@=:,";

bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool is_valid(std::string_view name) {
  return !name.empty() && name.size() <= kMaxNameBytes && is_alphanumeric(name.front()) &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return is_alphanumeric(c) || kPunctuation.find(c) != std::string_view::npos;
         });
}

std::unexpected<Error> refuse(const std::string& given) {
  return fail(ErrorKind::kUsage,
              "'{}' cannot name a snapshot: use 1 to {} letters, digits and '{}', beginning with a "
              "letter or digit",
              given, kMaxNameBytes, kPunctuation);
}

}  // namespace

Result<SnapshotPath> parse_snapshot_path(const std::string& path) {
  std::string trimmed = path;
  while (trimmed.size() > 1 && trimmed.back() == '/') trimmed.pop_back();
  const std::size_t slash = trimmed.rfind('/');
  SnapshotPath parsed;
  parsed.name = slash == std::string::npos ? trimmed : trimmed.substr(slash + 1);
  parsed.store =
      slash == std::string::npos ? "." : trimmed.substr(0, std::max<std::size_t>(slash, 1));
  parsed.path = trimmed;
  if (!is_valid(parsed.name)) return refuse(path);
  return parsed;
}

Result<SnapshotPath> snapshot_in(const std::string& store, const std::string& name) {
  if (!is_valid(name)) return refuse(name);
  return SnapshotPath{store, name, store + "/" + name};
}

std::string name_beside(const std::string& name, const Uuid& id) {
  constexpr std::size_t kMaxStem = 160;
  return name.substr(0, kMaxStem) + "@" + id.to_string();
}

}  // namespace lamina::store
