#include "store/pause_journal.h"

#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "store/field_reader.h"
#include "store/jail_directory.h"

namespace lamina::store {
namespace {

using Json = nlohmann::json;

constexpr std::uint64_t kJournalVersion = 2;

constexpr std::array<std::pair<AfterPause, const char*>, 3> kAfterNames{
    {{AfterPause::kStop, "stop"}, {AfterPause::kResume, "resume"}, {AfterPause::kStay, "stay"}}};

}  // namespace

const char* after_pause_name(AfterPause after) {
  for (const auto& [value, name] : kAfterNames) {
    if (value == after) return name;
  }
  return "";
}

std::optional<AfterPause> parse_after_pause(const std::string& name) {
  for (const auto& [value, text] : kAfterNames) {
    if (name == text) return value;
  }
  return std::nullopt;
}

std::string encode_pause_journal(const PauseJournal& journal) {
  // An object from the start: what null becomes when memory runs out in between cannot be
  // destroyed.
  auto json = nlohmann::ordered_json::object();
  json["pause"] = kJournalVersion;
  json["pause_id"] = journal.pause_id.to_string();
  json["build_id"] = journal.build_id.to_string();
  json["name"] = journal.name;
  json["replace"] = journal.replace;
  json["kind"] = journal.kind == MemoryFileKind::kDiff ? "diff" : "full";
  json["compare"] = journal.compare;
  if (journal.parent_pause_id) json["parent_pause_id"] = journal.parent_pause_id->to_string();
  json["parent"] = journal.parent;
  json["vm"] = journal.vm;
  json["api_socket"] = journal.api_socket;
  json["jail_directory"] = journal.jail_directory;
  json["after"] = after_pause_name(journal.after);
  json["was_running"] = journal.was_running;
  json["created"] = journal.created;
  json["vmm_version"] = journal.origin.vmm_version;
  json["cpu"] = journal.origin.cpu;
  json["kernel"] = journal.origin.kernel;
  json["huge_pages"] = journal.origin.huge_pages;
  json["acknowledged"] = journal.acknowledged;
  json["memory_bytes"] = journal.memory_bytes;
  json["lacks_files"] = journal.lacks_files;
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

JournalKind guess_journal_kind(std::span<const std::byte> bytes) {
  const auto* begin = reinterpret_cast<const char*>(bytes.data());
  const Json json = Json::parse(begin, begin + bytes.size(), nullptr, false);
  if (!json.is_object()) return JournalKind::kUnknown;
  return json.contains("adoption") ? JournalKind::kAdoption : JournalKind::kPause;
}

std::optional<PauseJournal> decode_pause_journal(std::span<const std::byte> bytes) {
  const auto* begin = reinterpret_cast<const char*>(bytes.data());
  const Json json = Json::parse(begin, begin + bytes.size(), nullptr, false);
  if (!json.is_object()) return std::nullopt;
  FieldReader reader(json);
  if (reader.number("pause") != kJournalVersion) return std::nullopt;
  PauseJournal journal;
  journal.pause_id = reader.uuid("pause_id");
  journal.build_id = reader.uuid("build_id");
  journal.name = reader.text("name");
  journal.replace = reader.flag("replace");
  const std::string kind = reader.text("kind");
  if (kind != "diff" && kind != "full") reader.bad("kind");
  journal.kind = kind == "diff" ? MemoryFileKind::kDiff : MemoryFileKind::kFull;
  journal.compare = reader.flag("compare");
  if (json.contains("parent_pause_id")) journal.parent_pause_id = reader.uuid("parent_pause_id");
  journal.parent = reader.text("parent");
  journal.vm = reader.text("vm");
  journal.api_socket = reader.text("api_socket");
  journal.jail_directory = reader.text("jail_directory");
  if (!journal.jail_directory.empty() && !is_jail_directory(journal.jail_directory)) {
    reader.bad("jail_directory");
  }
  const auto after = parse_after_pause(reader.text("after"));
  if (!after) reader.bad("after");
  journal.after = after.value_or(AfterPause::kStay);
  journal.was_running = reader.flag("was_running");
  journal.created = reader.text("created");
  journal.origin = {reader.text("vmm_version"), reader.text("cpu"), reader.text("kernel"),
                    reader.text("huge_pages")};
  journal.acknowledged = reader.flag("acknowledged");
  journal.memory_bytes = reader.number("memory_bytes");
  journal.lacks_files = reader.flag("lacks_files");
  if (!reader.ok()) return std::nullopt;
  return journal;
}

}  // namespace lamina::store
