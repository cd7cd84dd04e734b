#include "store/jail_directory.h"

namespace lamina::store {
namespace {

constexpr std::string_view kPrefix = "lamina-";

}  // namespace

std::string jail_directory_name(const Uuid& id) { return std::string(kPrefix) + id.to_string(); }

bool is_jail_directory(std::string_view path) {
  if (!path.starts_with('/')) return false;
  const std::string_view name = path.substr(path.rfind('/') + 1);
  return name.starts_with(kPrefix) && Uuid::parse(name.substr(kPrefix.size())).has_value();
}

}  // namespace lamina::store
