#include "object_store/profile_file.h"

#include <fcntl.h>

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/error.h"
#include "os/file.h"

namespace lamina::object_store {
namespace {

constexpr std::uint64_t kMaxFileBytes = std::uint64_t{1} << 20;

std::string_view trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r";
  while (!text.empty() && kSpace.contains(text.front())) text.remove_prefix(1);
  while (!text.empty() && kSpace.contains(text.back())) text.remove_suffix(1);
  return text;
}

std::string to_lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

/// "name" of "[name]", without doubled spaces as in "[profile   x]"; nullopt for other lines.
std::optional<std::string> heading_of(std::string_view line) {
  if (!line.starts_with('[')) return std::nullopt;
  const std::size_t end = line.find(']');
  if (end == std::string_view::npos) return std::nullopt;
  std::string name;
  for (const char c : trim(line.substr(1, end - 1))) {
    const char plain = c == '\t' ? ' ' : c;
    if (plain == ' ' && name.ends_with(' ')) continue;
    name += plain;
  }
  return name;
}

}  // namespace

std::optional<Profile> section_of(std::string_view text, std::string_view name) {
  std::optional<Profile> profile;
  bool is_inside = false;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    const std::string_view content = trim(line);
    if (content.empty() || content.front() == '#' || content.front() == ';') continue;
    if (const auto heading = heading_of(content)) {
      is_inside = *heading == name;
      if (is_inside && !profile) profile.emplace();
      continue;
    }
    const bool is_nested = line.front() == ' ' || line.front() == '\t';
    const std::size_t equals = content.find('=');
    if (!is_inside || is_nested || equals == std::string_view::npos) continue;
    profile->insert_or_assign(to_lower(trim(content.substr(0, equals))),
                              std::string(trim(content.substr(equals + 1))));
  }
  return profile;
}

Result<std::optional<Profile>> read_section(const std::string& path, std::string_view name) {
  const auto bytes = os::read_if_exists(AT_FDCWD, path, kMaxFileBytes, path);
  if (!bytes) return of_kind(ErrorKind::kPermission, std::unexpected(bytes.error()));
  if (!*bytes) return std::optional<Profile>();
  const std::vector<std::byte>& content = **bytes;
  return section_of(std::string_view(reinterpret_cast<const char*>(content.data()), content.size()),
                    name);
}

}  // namespace lamina::object_store
