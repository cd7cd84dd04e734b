#include "store/pin.h"
#include "store/areas.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/lock.h"
#include "os/pid_namespace.h"
#include "os/process.h"
#include "store/arrival.h"
#include "store/field_reader.h"
#include "store/jail_directory.h"
#include "store/snapshot_link.h"
#include "store/staging.h"

namespace lamina::store {
namespace {

constexpr std::uint64_t kMaxPinFactsBytes = std::uint64_t{256} << 10;
constexpr std::uint64_t kPinVersion = 2;
constexpr const char* kNewPinFactsName = "vm.json.new";
/// How often a pin is made again if another process removes it before it is locked.
constexpr int kClaimAttempts = 100;

using Json = nlohmann::json;

constexpr std::array<std::pair<Populate, std::string_view>, 3> kPopulateNames = {
    {{Populate::kNone, "none"}, {Populate::kWorkingSet, "working-set"}, {Populate::kAll, "all"}}};

std::string_view name_of(Populate populate) {
  for (const auto& [value, name] : kPopulateNames) {
    if (value == populate) return name;
  }
  return kPopulateNames.front().second;
}

Populate read_populate(FieldReader& reader, const char* name) {
  const std::string text = reader.text(name);
  for (const auto& [value, its_name] : kPopulateNames) {
    if (its_name == text) return value;
  }
  reader.bad(name);
  return Populate::kNone;
}

/// Tries for 200 ms to lock a pin: recover() holds the lock of each pin for a moment.
Result<bool> try_lock_briefly(int directory, const std::string& path) {
  constexpr int kAttempts = 20;
  constexpr int kPauseMs = 10;
  for (int i = 0; i < kAttempts; ++i) {
    LAMINA_ASSIGN_OR_RETURN(const bool locked, os::try_lock(directory, path));
    if (locked) return true;
    ::poll(nullptr, 0, kPauseMs);
  }
  return false;
}

Result<PinFacts> read_facts_at(int directory, const std::string& path) {
  const std::string facts_path = path + "/" + kPinFactsName;
  LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile opened,
                          os::open_regular(directory, kPinFactsName, O_RDONLY, facts_path));
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes,
                          os::read_whole(opened.fd.get(), kMaxPinFactsBytes, facts_path));
  auto facts = decode_pin_facts(bytes);
  if (!facts) return std::unexpected(with_context(fmt::format("'{}'", facts_path), facts.error()));
  return facts;
}

}  // namespace

std::string encode_pin_facts(const PinFacts& facts) {
  Json json = {{"vm", kPinVersion},
               {"belongs_to", to_json(facts.belongs_to)},
               {"pid", facts.pid},
               {"start_time", facts.start_time},
               {"boot_id", facts.boot_id},
               {"uid", facts.uid},
               {"api_socket", facts.api_socket},
               {"jail", facts.jail},
               {"snapshot", facts.snapshot},
               {"by_page_faults", facts.by_page_faults},
               {"needs_full", facts.needs_full},
               {"since", facts.since}};
  if (facts.base_in_flight) json["base_in_flight"] = true;
  if (facts.populate) json["populate"] = name_of(*facts.populate);
  if (facts.record) json["record"] = *facts.record;
  if (facts.record_faults) json["record_faults"] = *facts.record_faults;
  if (facts.pid_namespace != 0) json["pid_namespace"] = facts.pid_namespace;
  if (!facts.jail_directory.path.empty()) {
    json["jail_directory"] = facts.jail_directory.path;
    json["jail_directory_inode"] = facts.jail_directory.inode;
  }
  if (facts.map) json["map"] = facts.map->to_string();
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<PinFacts> decode_pin_facts(std::span<const std::byte> bytes) {
  const auto* begin = reinterpret_cast<const char*>(bytes.data());
  const Json json = Json::parse(begin, begin + bytes.size(), nullptr, false);
  if (!json.is_object()) return fail(ErrorKind::kCorrupt, "is not a JSON object");
  FieldReader reader(json);
  const std::uint64_t version = reader.number("vm");
  if (reader.ok() && version != kPinVersion) {
    return fail(ErrorKind::kCorrupt, "is of version {}, this program knows version {}", version,
                kPinVersion);
  }
  PinFacts facts;
  facts.belongs_to = read_owner(reader);
  facts.pid = static_cast<pid_t>(reader.number("pid", INT32_MAX));
  facts.start_time = reader.number("start_time");
  facts.boot_id = reader.text("boot_id");
  facts.uid = static_cast<std::uint32_t>(reader.number("uid", UINT32_MAX));
  facts.api_socket = reader.text("api_socket");
  facts.jail = reader.text("jail");
  facts.snapshot = reader.text("snapshot");
  facts.by_page_faults = reader.flag("by_page_faults");
  facts.needs_full = reader.flag("needs_full");
  facts.since = reader.text("since");
  if (json.contains("pid_namespace")) facts.pid_namespace = reader.number("pid_namespace");
  if (json.contains("jail_directory")) {
    facts.jail_directory.path = reader.text("jail_directory");
    if (!is_jail_directory(facts.jail_directory.path)) reader.bad("jail_directory");
    facts.jail_directory.inode = reader.number("jail_directory_inode");
  }
  if (json.contains("base_in_flight")) facts.base_in_flight = reader.flag("base_in_flight");
  if (json.contains("populate")) facts.populate = read_populate(reader, "populate");
  if (json.contains("record")) facts.record = reader.flag("record");
  if (json.contains("record_faults")) facts.record_faults = reader.flag("record_faults");
  if (json.contains("map")) facts.map = reader.uuid("map");
  if (!reader.ok()) {
    return fail(ErrorKind::kCorrupt, "its field '{}' is missing or wrong", reader.bad_field());
  }
  return facts;
}

Result<PinFacts> read_pin_facts(const std::string& path) {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd directory, open_in_store(path));
  return read_facts_at(directory.get(), path);
}

Result<bool> is_running(const PinFacts& facts) {
  LAMINA_ASSIGN_OR_RETURN(const std::string boot, os::boot_id());
  if (boot != facts.boot_id) return false;
  LAMINA_ASSIGN_OR_RETURN(const std::uint64_t here, os::pid_namespace());
  if (facts.pid_namespace == 0 || facts.pid_namespace == here) {
    return os::is_running(facts.pid, facts.start_time);
  }
  const std::string name = os::process_name(facts.pid, facts.start_time);
  switch (os::presence_of(facts.pid_namespace, facts.pid, facts.start_time)) {
    case os::Presence::kEnded:
      return false;
    case os::Presence::kRuns:
      return fail(ErrorKind::kFailed,
                  "VM {} runs in another pid namespace than this process; work on it from there",
                  name);
    case os::Presence::kUnknown:
      break;
  }
  return fail(
      ErrorKind::kFailed,
      "VM {} is of another pid namespace than this process, and from here it cannot be told "
      "whether it runs; work on it from there, or as root in the host's namespace",
      name);
}

Result<PinFacts> read_own_pin_facts(const std::string& path, const StoreIdentity& here) {
  LAMINA_ASSIGN_OR_RETURN(PinFacts facts, read_pin_facts(path));
  const std::string why = why_foreign(facts.belongs_to, here);
  if (!why.empty()) return fail(ErrorKind::kFailed, "'{}' is not acted upon: {}", path, why);
  return facts;
}

Result<std::optional<Pin>> Pin::lock(const Store& store, const std::string& name) {
  Pin pin(store, name);
  auto directory = os::open_directory(store.vms_area(), name, pin.path());
  if (!directory) {
    if (directory.error().kind == ErrorKind::kNotFound) return std::nullopt;
    return std::unexpected(directory.error());
  }
  pin.directory_ = os::LockedFd(std::move(*directory));
  LAMINA_ASSIGN_OR_RETURN(const bool locked, try_lock_briefly(pin.directory_.get(), pin.path()));
  if (!locked) {
    return fail(ErrorKind::kBusy,
                "another operation on VM {} is under way in store '{}'; try again when it has "
                "ended",
                name, store.path());
  }
  // The pin may have been released between the two calls.
  const auto again = os::open_directory(store.vms_area(), name, pin.path());
  if (!again) {
    if (again.error().kind == ErrorKind::kNotFound) return std::nullopt;
    return std::unexpected(again.error());
  }
  LAMINA_ASSIGN_OR_RETURN(const os::FileFacts ours, os::facts_of(pin.directory_.get(), pin.path()));
  LAMINA_ASSIGN_OR_RETURN(const os::FileFacts named, os::facts_of(again->get(), pin.path()));
  if (!ours.same_file(named)) return std::nullopt;
  LAMINA_RETURN_IF_ERROR(pin.load_facts());
  return std::optional(std::move(pin));
}

Result<Pin> Pin::claim(const Store& store, pid_t pid, std::uint64_t start_time) {
  const std::string name = os::process_name(pid, start_time);
  const std::string path = fmt::format("{}/{}/{}", store.path(), kVmsArea, name);
  for (int attempt = 0; attempt < kClaimAttempts; ++attempt) {
    LAMINA_RETURN_IF_ERROR(os::make_directory(store.vms_area(), name, path));
    LAMINA_ASSIGN_OR_RETURN(std::optional<Pin> pin, lock(store, name));
    if (!pin) continue;
    bool is_left = false;
    if (pin->facts_) {
      LAMINA_ASSIGN_OR_RETURN(const bool runs, is_running(*pin->facts_));
      is_left = !runs;
    }
    if (is_left) {
      return with_remedy(fail(ErrorKind::kFailed, "'{}' was left by a VM of an earlier boot", path),
                         "run: lamina recover {}", store.path());
    }
    return std::move(*pin);
  }
  return fail(ErrorKind::kBusy, "'{}' could not be locked: another process keeps removing it",
              path);
}

Result<std::optional<Pin>> Pin::claim_existing(const Store& store, const std::string& name) {
  return lock(store, name);
}

std::string Pin::path() const { return fmt::format("{}/{}/{}", store_->path(), kVmsArea, name_); }

Status Pin::load_facts() {
  auto facts = read_facts_at(directory_.get(), path());
  if (facts) {
    why_foreign_ = store::why_foreign(facts->belongs_to, store_->identity());
    (why_foreign_.empty() ? facts_ : foreign_facts_) = std::move(*facts);
    return {};
  }
  // Without vm.json nothing is known about the VM, and its next memory file is a full one.
  if (facts.error().kind == ErrorKind::kNotFound) return {};
  return std::unexpected(facts.error());
}

Status Pin::adopt() {
  if (!foreign_facts_) return {};
  PinFacts facts = *foreign_facts_;
  facts.boot_id.clear();
  facts.api_socket.clear();
  facts.jail.clear();
  facts.jail_directory = {};
  return write_facts(facts);
}

Status Pin::write_facts_unsynced(const PinFacts& noted) {
  PinFacts facts = noted;
  facts.belongs_to = store_->identity();
  const std::string text = encode_pin_facts(facts);
  LAMINA_RETURN_IF_ERROR(os::replace_file(directory_.get(), kNewPinFactsName, kPinFactsName,
                                          std::as_bytes(std::span(text)), path()));
  facts_ = std::move(facts);
  foreign_facts_.reset();
  why_foreign_.clear();
  return {};
}

Status Pin::sync_name() const {
  // The directory's name is on the disk before vm.json exists. So a pin that has facts of this
  // store needs no further sync of the area, whatever happened to the process that wrote them.
  if (facts_) return {};
  return os::sync(store_->vms_area(), fmt::format("{}/{}", store_->path(), kVmsArea));
}

Status Pin::write_facts(const PinFacts& facts) {
  LAMINA_RETURN_IF_ERROR(sync_name());
  LAMINA_RETURN_IF_ERROR(write_facts_unsynced(facts));
  return os::sync(directory_.get(), path());
}

bool Pin::has_base() const { return os::name_exists(directory_.get(), kPinBaseName); }

Result<Staging> Pin::exchange_base(const OpenSnapshot& snapshot) {
  // Built in the temporary area: after a crash the clean-up removes it.
  LAMINA_ASSIGN_OR_RETURN(Staging staging,
                          Staging::create(*store_, Area::kTemporary, Uuid::random()));
  LAMINA_RETURN_IF_ERROR(
      os::make_directory(staging.fd(), kPinBaseName, staging.file_path(kPinBaseName)));
  {
    LAMINA_ASSIGN_OR_RETURN(
        const os::Fd built,
        os::open_directory(staging.fd(), kPinBaseName, staging.file_path(kPinBaseName)));
    std::vector<std::string> copied;  // not reported: no snapshot becomes larger
    LAMINA_RETURN_IF_ERROR(
        link_snapshot(snapshot, built.get(), staging.file_path(kPinBaseName), copied));
    LAMINA_RETURN_IF_ERROR(
        link_arrival_marker(snapshot, built.get(), staging.file_path(kPinBaseName)));
    LAMINA_RETURN_IF_ERROR(os::sync(built.get(), staging.file_path(kPinBaseName)));
  }
  if (has_base()) {
    LAMINA_RETURN_IF_ERROR(os::rename_exchange(staging.fd(), kPinBaseName, directory_.get(),
                                               kPinBaseName, base_path()));
  } else {
    LAMINA_RETURN_IF_ERROR(
        os::rename_new(staging.fd(), kPinBaseName, directory_.get(), kPinBaseName, base_path()));
  }
  return staging;
}

// The destructor of the staging directory removes the old base. Sync first: a power failure could
// undo the exchange and bring the old base back without its files.

Status Pin::set_base(const OpenSnapshot& snapshot) {
  LAMINA_ASSIGN_OR_RETURN(Staging old, exchange_base(snapshot));
  const Status synced = os::sync(directory_.get(), path());
  if (!synced) old.leave();
  return synced;
}

Status Pin::set_base_and_facts(const OpenSnapshot& snapshot, const PinFacts& facts) {
  LAMINA_RETURN_IF_ERROR(sync_name());
  LAMINA_ASSIGN_OR_RETURN(Staging old, exchange_base(snapshot));
  Status done = write_facts_unsynced(facts);
  if (done) done = os::sync(directory_.get(), path());
  if (!done) old.leave();
  return done;
}

Status Pin::release() {
  // It is locked, so no clean-up removes it before the sync. Without a directory for it: a disk
  // that has no inode left is to get some.
  const std::string id = Uuid::random().to_string();
  const std::string removed = fmt::format("{}/{}/{}", store_->path(), kTemporaryArea, id);
  LAMINA_RETURN_IF_ERROR(
      os::rename_new(store_->vms_area(), name_, store_->temporary_area(), id, path()));
  facts_.reset();
  LAMINA_RETURN_IF_ERROR(
      os::sync(store_->vms_area(), fmt::format("{}/{}", store_->path(), kVmsArea)));
  // If this fails, the next writer's clean-up removes it.
  static_cast<void>(
      contain("remove", [&] { return os::remove_tree(store_->temporary_area(), id, removed); }));
  return {};
}

Result<std::vector<std::string>> list_pins(const std::string& path) {
  const std::string area = fmt::format("{}/{}", path, kVmsArea);
  const auto directory = open_in_store(area);
  if (!directory) {
    if (directory.error().kind == ErrorKind::kNotFound) return std::vector<std::string>();
    return std::unexpected(directory.error());
  }
  LAMINA_ASSIGN_OR_RETURN(std::vector<std::string> names,
                          os::list_directory(directory->get(), area));
  std::erase_if(names, [](const std::string& name) { return !os::parse_process_name(name); });
  return names;
}

}  // namespace lamina::store
