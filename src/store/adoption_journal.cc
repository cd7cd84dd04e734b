#include "store/adoption_journal.h"

#include <charconv>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "os/directory.h"
#include "store/pending_area.h"
#include "store/snapshot_directory.h"

namespace lamina::store {
namespace {

constexpr std::uint64_t kAdoptionVersion = 2;

/// JSON is UTF-8, but a path may not be: the journal has the path's exact bytes as hexadecimal
/// digits.
std::string to_hex(std::string_view bytes) {
  std::string hex;
  for (const char c : bytes) hex += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return hex;
}

std::optional<std::string> from_hex(std::string_view hex) {
  constexpr int kBase = 16;
  std::string bytes;
  if (hex.size() % 2 != 0) return std::nullopt;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    unsigned char byte = 0;
    const char* digits = hex.data() + i;
    const auto [end, error] = std::from_chars(digits, digits + 2, byte, kBase);
    if (error != std::errc() || end != digits + 2) return std::nullopt;
    bytes += static_cast<char>(byte);
  }
  return bytes;
}

std::string encode_adoption(const AdoptionJournal& journal) {
  return nlohmann::json{{"adoption", kAdoptionVersion},
                        {"belongs_to", to_json(journal.belongs_to)},
                        {"source", journal.source},
                        {"source_hex", to_hex(journal.source)},
                        {"layer", journal.layer_name},
                        {"bytes", journal.size_bytes},
                        {"mode", journal.mode},
                        {"user", journal.user},
                        {"group", journal.group},
                        {"inode", journal.inode},
                        {"born_ns", journal.born_ns},
                        {"directory_inode", journal.directory_inode},
                        {"copy_inode", journal.copy_inode},
                        {"copy_born_ns", journal.copy_born_ns}}
             .dump(2, ' ', false, nlohmann::json::error_handler_t::replace) +
         "\n";
}

std::optional<AdoptionJournal> decode_adoption(const std::vector<std::byte>& bytes) {
  const auto* begin = reinterpret_cast<const char*>(bytes.data());
  const auto json = nlohmann::json::parse(begin, begin + bytes.size(), nullptr, false);
  if (!json.is_object()) return std::nullopt;
  const auto has = [&](const char* name, bool (nlohmann::json::*is_type)() const noexcept) {
    const auto found = json.find(name);
    return found != json.end() && ((*found).*is_type)();
  };
  using Value = nlohmann::json;
  if (!has("source_hex", &Value::is_string) || !has("layer", &Value::is_string)) {
    return std::nullopt;
  }
  for (const char* number :
       {"adoption", "bytes", "mode", "user", "group", "inode", "directory_inode", "copy_inode"}) {
    if (!has(number, &Value::is_number_unsigned)) return std::nullopt;
  }
  if (!has("born_ns", &Value::is_number_integer) ||
      !has("copy_born_ns", &Value::is_number_integer) || json["adoption"] != kAdoptionVersion) {
    return std::nullopt;
  }
  const auto source = from_hex(json["source_hex"].get<std::string>());
  if (!source || !source->starts_with('/')) return std::nullopt;
  const auto owner = json.find("belongs_to");
  const auto identity = owner == json.end() ? std::nullopt : identity_from_json(*owner);
  if (!identity) return std::nullopt;
  const auto number = [&](const char* name) { return json[name].get<std::uint64_t>(); };
  AdoptionJournal journal;
  journal.belongs_to = *identity;
  journal.source = *source;
  journal.layer_name = json["layer"].get<std::string>();
  journal.size_bytes = number("bytes");
  journal.mode = number("mode");
  journal.user = number("user");
  journal.group = number("group");
  journal.inode = number("inode");
  journal.born_ns = json["born_ns"].get<std::int64_t>();
  journal.directory_inode = number("directory_inode");
  journal.copy_inode = number("copy_inode");
  journal.copy_born_ns = json["copy_born_ns"].get<std::int64_t>();
  if (!parse_layer_file_name(journal.layer_name)) return std::nullopt;
  return journal;
}

}  // namespace

bool AdoptionJournal::is_of(const os::FileFacts& file) const {
  if (file.inode == inode && file.born_ns == born_ns) return true;
  return copy_inode != 0 && file.inode == copy_inode && file.born_ns == copy_born_ns;
}

Result<std::optional<AdoptionJournal>> read_adoption_journal(const Store& store,
                                                             const std::string& id) {
  const std::string path = pending_path(store, journal_name(id));
  LAMINA_ASSIGN_OR_RETURN(
      const auto bytes,
      os::read_if_exists(store.pending_area(), journal_name(id), kMaxJournalBytes, path));
  return bytes ? decode_adoption(*bytes) : std::nullopt;
}

Status write_adoption_journal(const Store& store, const std::string& id,
                              const AdoptionJournal& journal) {
  const std::string text = encode_adoption(journal);
  const std::string name = journal_name(id);
  LAMINA_RETURN_IF_ERROR(os::write_new_file(
      store.pending_area(), name, std::as_bytes(std::span(text)), pending_path(store, name)));
  return sync_pending_area(store);
}

Status replace_adoption_journal(const Store& store, const std::string& id,
                                const AdoptionJournal& journal) {
  LAMINA_RETURN_IF_ERROR(replace_journal(store, id, encode_adoption(journal)));
  return sync_pending_area(store);
}

}  // namespace lamina::store
