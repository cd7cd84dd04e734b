#include "store/pause_journal.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "os/directory.h"
#include "os/file.h"
#include "store/field_reader.h"
#include "store/pending_area.h"

namespace lamina::store {
namespace {

using Json = nlohmann::json;

constexpr std::uint64_t kJournalVersion = 3;
/// Has a freeze directory, which older programs would not look for.
constexpr std::uint64_t kJournalWithFreezeVersion = 4;

/// What a journal may be that decode_pause_journal() cannot decode.
enum class JournalKind : std::uint8_t {
  kAdoption,
  kPause,    ///< of another version, or damaged
  kUnknown,  ///< incomplete, as an adoption's may be after a power failure
};

JournalKind guess_journal_kind(std::span<const std::byte> bytes) {
  const auto* begin = reinterpret_cast<const char*>(bytes.data());
  const Json json = Json::parse(begin, begin + bytes.size(), nullptr, false);
  if (!json.is_object()) return JournalKind::kUnknown;
  return json.contains("adoption") ? JournalKind::kAdoption : JournalKind::kPause;
}

nlohmann::ordered_json freeze_to_json(const FreezeDirectory& directory) {
  return {{"path", directory.path},
          {"boot_id", directory.boot_id},
          {"device", directory.device},
          {"inode", directory.inode},
          {"born_ns", static_cast<std::uint64_t>(directory.born_ns)}};
}

/// Absent if `json` is not such a record.
std::optional<FreezeDirectory> freeze_from_json(const Json& json) {
  if (!json.is_object()) return std::nullopt;
  FieldReader reader(json);
  FreezeDirectory directory;
  directory.path = reader.text("path");
  directory.boot_id = reader.text("boot_id");
  directory.device = reader.number("device");
  directory.inode = reader.number("inode");
  directory.born_ns = static_cast<std::int64_t>(reader.number("born_ns"));
  if (!reader.ok() || !is_freeze_directory(directory.path)) return std::nullopt;
  return directory;
}

/// True if the pending directory has files. An adoption's is empty until its journal is on the
/// disk.
bool has_files(const Store& store, const Uuid& id) {
  const std::string path = pending_path(store, id.to_string());
  const auto directory = os::open_directory(store.pending_area(), id.to_string(), path);
  if (!directory) return false;
  const auto names = os::list_directory(directory->get(), path);
  return !names || !names->empty();
}

}  // namespace

std::string encode_pause_journal(const PauseJournal& journal) {
  // Start with an object: nlohmann's library cannot destroy a null value that ran out of memory
  // while it became an object.
  auto json = nlohmann::ordered_json::object();
  const bool has_freeze = !journal.freeze_directory.path.empty();
  json["pause"] = has_freeze ? kJournalWithFreezeVersion : kJournalVersion;
  json["belongs_to"] = to_json(journal.belongs_to);
  json["pause_id"] = journal.pause_id.to_string();
  json["build_id"] = journal.build_id.to_string();
  json["name"] = journal.name;
  json["replace"] = journal.replace;
  json["kind"] = journal.kind == MemoryFileKind::kDiff ? "diff" : "full";
  if (!journal.reason.empty()) json["reason"] = journal.reason;
  json["compare"] = journal.compare;
  if (journal.parent_pause_id) json["parent_pause_id"] = journal.parent_pause_id->to_string();
  if (journal.last_pause_id) json["last_pause_id"] = journal.last_pause_id->to_string();
  if (!journal.ancestors.empty()) json["ancestors"] = texts_of(journal.ancestors);
  json["parent"] = journal.parent;
  json["vm"] = journal.vm;
  json["api_socket"] = journal.api_socket;
  json["jail_directory"] = journal.jail_directory.path;
  json["jail_directory_inode"] = journal.jail_directory.inode;
  if (has_freeze) json["freeze_directory"] = freeze_to_json(journal.freeze_directory);
  json["after"] = word_of(journal.after);
  json["was_running"] = journal.was_running;
  json["created"] = journal.created;
  json["vmm_version"] = journal.origin.vmm_version;
  json["cpu"] = journal.origin.cpu;
  json["kernel"] = journal.origin.kernel;
  json["huge_pages"] = journal.origin.huge_pages;
  if (journal.once) json["once"] = true;
  json["acknowledged"] = journal.acknowledged;
  json["memory_bytes"] = journal.memory_bytes;
  json["lacks_files"] = journal.lacks_files;
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::optional<PauseJournal> decode_pause_journal(std::span<const std::byte> bytes) {
  const auto* begin = reinterpret_cast<const char*>(bytes.data());
  const Json json = Json::parse(begin, begin + bytes.size(), nullptr, false);
  if (!json.is_object()) return std::nullopt;
  FieldReader reader(json);
  const std::uint64_t version = reader.number("pause");
  if (version != kJournalVersion && version != kJournalWithFreezeVersion) return std::nullopt;
  PauseJournal journal;
  journal.belongs_to = read_owner(reader);
  journal.pause_id = reader.uuid("pause_id");
  journal.build_id = reader.uuid("build_id");
  journal.name = reader.text("name");
  journal.replace = reader.flag("replace");
  const std::string kind = reader.text("kind");
  if (kind != "diff" && kind != "full") reader.bad("kind");
  journal.kind = kind == "diff" ? MemoryFileKind::kDiff : MemoryFileKind::kFull;
  if (json.contains("reason")) journal.reason = reader.text("reason");
  journal.compare = reader.flag("compare");
  if (json.contains("parent_pause_id")) journal.parent_pause_id = reader.uuid("parent_pause_id");
  if (json.contains("last_pause_id")) journal.last_pause_id = reader.uuid("last_pause_id");
  journal.ancestors = reader.optional_uuids("ancestors");
  journal.parent = reader.text("parent");
  journal.vm = reader.text("vm");
  journal.api_socket = reader.text("api_socket");
  journal.jail_directory = {reader.text("jail_directory"), reader.number("jail_directory_inode")};
  if (!journal.jail_directory.path.empty() && !is_jail_directory(journal.jail_directory.path)) {
    reader.bad("jail_directory");
  }
  if (version == kJournalWithFreezeVersion) {
    const Json* freeze = reader.find("freeze_directory");
    auto directory = freeze == nullptr ? std::nullopt : freeze_from_json(*freeze);
    if (!directory) reader.bad("freeze_directory");
    journal.freeze_directory = std::move(directory).value_or(FreezeDirectory{});
  }
  const auto after = value_of<AfterPause>(reader.text("after"));
  if (!after) reader.bad("after");
  journal.after = after.value_or(AfterPause::kStay);
  journal.was_running = reader.flag("was_running");
  journal.created = reader.text("created");
  journal.origin = {reader.text("vmm_version"), reader.text("cpu"), reader.text("kernel"),
                    reader.text("huge_pages")};
  if (json.contains("once")) journal.once = reader.flag("once");
  journal.acknowledged = reader.flag("acknowledged");
  journal.memory_bytes = reader.number("memory_bytes");
  journal.lacks_files = reader.flag("lacks_files");
  if (!reader.ok()) return std::nullopt;
  return journal;
}

Result<std::optional<PauseJournal>> read_pause_journal(const Store& store, const Uuid& id) {
  const std::string path = pending_path(store, journal_name(id.to_string()));
  LAMINA_ASSIGN_OR_RETURN(const auto bytes,
                          os::read_if_exists(store.pending_area(), journal_name(id.to_string()),
                                             kMaxJournalBytes, path));
  if (!bytes) return std::nullopt;
  std::optional<PauseJournal> journal = decode_pause_journal(*bytes);
  if (journal && journal->pause_id == id) return journal;
  const JournalKind kind = guess_journal_kind(*bytes);
  if (kind == JournalKind::kAdoption) return std::nullopt;
  if (kind == JournalKind::kUnknown && !has_files(store, id)) return std::nullopt;
  return fail(ErrorKind::kCorrupt,
              "the journal '{}' cannot be read: it is damaged, or of a newer version of lamina",
              path);
}

}  // namespace lamina::store
