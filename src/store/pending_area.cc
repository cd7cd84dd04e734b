#include "store/pending_area.h"

#include <fcntl.h>

#include <nlohmann/json.hpp>
#include <span>

#include "os/directory.h"
#include "os/file.h"

namespace lamina::store {

Status replace_journal(const Store& store, const std::string& id, std::string_view text) {
  return os::replace_file(store.pending_area(), id + std::string(kNewJournalSuffix),
                          journal_name(id), std::as_bytes(std::span(text)),
                          pending_path(store, "."));
}

Status sync_pending_area(const Store& store) {
  return os::sync(store.pending_area(), pending_path(store, "."));
}

std::optional<JournalFacts> read_journal_facts(int area, const std::string& name,
                                               const std::string& path) {
  const auto opened = os::open_regular(area, name, O_RDONLY, path);
  if (!opened) return std::nullopt;
  const auto bytes = os::read_whole(opened->fd.get(), kMaxJournalBytes, path);
  if (!bytes) return std::nullopt;
  const auto* begin = reinterpret_cast<const char*>(bytes->data());
  const auto json = nlohmann::json::parse(begin, begin + bytes->size(), nullptr, false);
  if (!json.is_object()) return std::nullopt;
  JournalFacts facts;
  if (json.contains("pause")) {
    facts.kind = JournalFacts::Kind::kPause;
  } else if (json.contains("adoption")) {
    facts.kind = JournalFacts::Kind::kAdoption;
  }
  const auto owner = json.find("belongs_to");
  if (owner != json.end()) facts.belongs_to = identity_from_json(*owner);
  return facts;
}

}  // namespace lamina::store
