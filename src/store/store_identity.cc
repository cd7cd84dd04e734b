#include "store/store_identity.h"

#include <fcntl.h>

#include <nlohmann/json.hpp>
#include <span>

#include "base/error.h"
#include "format/checksum.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/host.h"
#include "os/overlay.h"
#include "os/process.h"
#include "store/field_reader.h"

namespace lamina::store {
namespace {

/// A digest, because the machine id is confidential (machine-id(5)) and stores are passed on.
std::string host_digest() {
  const std::string id = os::machine_id();
  if (id.empty()) return id;
  const std::string text = "lamina store " + id;
  return fmt::format("{:016x}", format::checksum64(std::as_bytes(std::span(text))));
}

}  // namespace

Result<StoreIdentity> identity_of(int store, const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(const os::FileFacts facts, os::facts_of(store, path));
  StoreIdentity identity;
  identity.device = facts.device;
  identity.inode = facts.inode;
  // In an overlay the birth time is that of a layer's directory, and changes when that is copied
  // up.
  identity.born_ns = os::is_in_overlay(store) ? 0 : os::birth_time_ns(store);
  identity.host = host_digest();
  LAMINA_ASSIGN_OR_RETURN(identity.boot_id, os::boot_id());
  return identity;
}

Result<StoreIdentity> identity_of_store(const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd directory, os::open_directory(AT_FDCWD, path, path));
  return identity_of(directory.get(), path);
}

std::string why_foreign(const StoreIdentity& owner, const StoreIdentity& here) {
  const bool is_same_birth =
      owner.born_ns == here.born_ns || owner.born_ns == 0 || here.born_ns == 0;
  const bool is_same_directory = owner.inode == here.inode && is_same_birth;
  if (owner.boot_id == here.boot_id) {
    if (is_same_directory && owner.device == here.device) return {};
    return "it is of the store that this one was copied from, or that was at another place";
  }
  if (owner.host.empty() || here.host.empty()) {
    return "it cannot be told whether it is of this host: there is no /etc/machine-id";
  }
  if (owner.host != here.host) return "it is of another host";
  if (is_same_directory) return {};
  return "it is of the store that this one was copied from, before this boot";
}

std::string stable_name(const StoreIdentity& identity) {
  return fmt::format("{:x}-{:x}", identity.inode, identity.born_ns);
}

nlohmann::json to_json(const StoreIdentity& identity) {
  return {{"device", identity.device},
          {"inode", identity.inode},
          {"born_ns", identity.born_ns},
          {"host", identity.host},
          {"boot_id", identity.boot_id}};
}

std::optional<StoreIdentity> identity_from_json(const nlohmann::json& json) {
  if (!json.is_object()) return std::nullopt;
  FieldReader reader(json);
  StoreIdentity identity;
  identity.device = reader.number("device");
  identity.inode = reader.number("inode");
  identity.born_ns = reader.number("born_ns");
  identity.host = reader.text("host");
  identity.boot_id = reader.text("boot_id");
  if (!reader.ok()) return std::nullopt;
  return identity;
}

StoreIdentity read_owner(FieldReader& reader) {
  const nlohmann::json* owner = reader.find("belongs_to");
  const auto identity = owner == nullptr ? std::nullopt : identity_from_json(*owner);
  if (!identity) reader.bad("belongs_to");
  return identity.value_or(StoreIdentity{});
}

}  // namespace lamina::store
