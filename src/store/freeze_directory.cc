#include "store/freeze_directory.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "base/error.h"
#include "os/directory.h"
#include "os/path_walk.h"
#include "os/process.h"
#include "store/field_reader.h"

namespace lamina::store {
namespace {

constexpr std::string_view kNamePrefix = "lamina-";
constexpr const char* kAnswerName = ".answer";
constexpr const char* kNewAnswerName = ".answer.new";
constexpr std::uint64_t kMostAnswerBytes = 4096;
constexpr std::uint64_t kAnswerVersion = 1;
constexpr std::uint32_t kOfOthers = 077;

/// True if the nearest directory above `path` that exists is in the file system `device`.
bool sees_device(std::string path, std::uint64_t device) {
  while (true) {
    path = os::parent_of(path);
    const auto fd = os::open_directory(AT_FDCWD, path, path);
    if (fd) {
      const auto facts = os::facts_of(fd->get(), path);
      return facts && facts->device == device;
    }
    if (fd.error().kind != ErrorKind::kNotFound || path == "/" || path == ".") return false;
  }
}

/// The last component may not be a link.
Result<os::Fd> open_below_parent(const std::string& path) {
  const std::string above = os::parent_of(path);
  LAMINA_ASSIGN_OR_RETURN(const os::Fd parent, os::open_directory(AT_FDCWD, above, above));
  return os::open_directory(parent.get(), path.substr(path.rfind('/') + 1), path);
}

}  // namespace

std::string freeze_directory_name(const Uuid& id) {
  return std::string(kNamePrefix) + id.to_string();
}

bool is_freeze_directory(std::string_view path) {
  if (!path.starts_with('/')) return false;
  const std::string_view name = path.substr(path.rfind('/') + 1);
  return name.starts_with(kNamePrefix) && Uuid::parse(name.substr(kNamePrefix.size())).has_value();
}

Result<FreezeDirectory> record_freeze_directory(int directory, const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(const os::FileFacts facts, os::facts_of(directory, path));
  FreezeDirectory record;
  record.path = path;
  LAMINA_ASSIGN_OR_RETURN(record.boot_id, os::boot_id());
  record.device = facts.device;
  record.inode = facts.inode;
  record.born_ns = facts.born_ns;
  return record;
}

Result<FoundFreezeDirectory> find_freeze_directory(const FreezeDirectory& record) {
  FoundFreezeDirectory found;
  if (record.path.empty()) return found;
  LAMINA_ASSIGN_OR_RETURN(const std::string boot, os::boot_id());
  if (boot != record.boot_id) return found;
  auto opened = open_below_parent(record.path);
  if (!opened) {
    const Error& error = opened.error();
    const bool is_other = error.error_number == ENOTDIR;
    if (error.kind == ErrorKind::kPermission) {
      found.presence = FreezePresence::kUnseen;
    } else if (error.kind == ErrorKind::kNotFound || is_other) {
      if (!sees_device(record.path, record.device)) found.presence = FreezePresence::kUnseen;
    } else {
      return std::unexpected(error);
    }
    return found;
  }
  LAMINA_ASSIGN_OR_RETURN(const os::FileFacts facts, os::facts_of(opened->get(), record.path));
  if (facts.device != record.device) {
    if (!sees_device(record.path, record.device)) found.presence = FreezePresence::kUnseen;
    return found;
  }
  if (facts.inode != record.inode || facts.born_ns != record.born_ns || facts.user != ::geteuid() ||
      (facts.mode & kOfOthers) != 0) {
    return found;
  }
  found.presence = FreezePresence::kThere;
  found.directory = std::move(*opened);
  return found;
}

Status remove_freeze_directory(const FreezeDirectory& record) {
  LAMINA_ASSIGN_OR_RETURN(const FoundFreezeDirectory found, find_freeze_directory(record));
  if (found.presence != FreezePresence::kThere) return {};
  LAMINA_RETURN_IF_ERROR(os::remove_files(found.directory.get(), record.path));
  const std::string above = os::parent_of(record.path);
  LAMINA_ASSIGN_OR_RETURN(const os::Fd parent, os::open_directory(AT_FDCWD, above, above));
  return os::remove_directory(parent.get(), record.path.substr(record.path.rfind('/') + 1),
                              record.path);
}

bool has_freeze_answer(int directory) { return os::name_exists(directory, kAnswerName); }

Status write_freeze_answer(const FreezeAnswer& answer, int directory, const std::string& path) {
  auto json = nlohmann::ordered_json::object();
  json["answer"] = kAnswerVersion;
  json["pause_id"] = answer.pause_id.to_string();
  json["memory_bytes"] = answer.memory_bytes;
  json["inode"] = answer.inode;
  json["allocated_bytes"] = answer.allocated_bytes;
  json["modified_ns"] = static_cast<std::uint64_t>(answer.modified_ns);
  const std::string text = json.dump() + "\n";
  return os::replace_file(directory, kNewAnswerName, kAnswerName, std::as_bytes(std::span(text)),
                          path);
}

Result<std::optional<FreezeAnswer>> read_freeze_answer(int directory, const std::string& path,
                                                       const Uuid& pause_id) {
  const std::string object = path + "/" + kAnswerName;
  LAMINA_ASSIGN_OR_RETURN(const auto bytes,
                          os::read_if_exists(directory, kAnswerName, kMostAnswerBytes, object));
  if (!bytes) return std::nullopt;
  const auto* begin = reinterpret_cast<const char*>(bytes->data());
  const auto json = nlohmann::json::parse(begin, begin + bytes->size(), nullptr, false);
  if (json.is_object()) {
    FieldReader reader(json);
    const bool is_known = reader.number("answer") == kAnswerVersion;
    FreezeAnswer answer;
    answer.pause_id = reader.uuid("pause_id");
    answer.memory_bytes = reader.number("memory_bytes");
    answer.inode = reader.number("inode");
    answer.allocated_bytes = reader.number("allocated_bytes");
    answer.modified_ns = static_cast<std::int64_t>(reader.number("modified_ns"));
    if (reader.ok() && is_known && answer.pause_id == pause_id) return answer;
  }
  return fail(ErrorKind::kCorrupt, "'{}' is not the answer to pause {}", object,
              pause_id.to_string());
}

}  // namespace lamina::store
