#include "store/adoption.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "base/block.h"
#include "base/contain.h"
#include "base/error.h"
#include "format/trailer.h"
#include "store/pending_area.h"
#include "store/pending_pause.h"
#include "store/snapshot_directory.h"
#include "sys/directory.h"
#include "sys/file.h"
#include "sys/lock.h"

namespace lamina::store {
namespace {

struct Journal {
  std::string source;
  std::string layer_name;
  std::uint64_t size_bytes = 0;
  std::uint64_t mode = 0;
  std::uint64_t inode = 0;
};

/// Paths are bytes, JSON is UTF-8: what is put back must have the very name that it had.
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

std::string encode(const Journal& journal) {
  return nlohmann::json{{"adoption", 1},
                        {"source", journal.source},
                        {"source_hex", to_hex(journal.source)},
                        {"layer", journal.layer_name},
                        {"bytes", journal.size_bytes},
                        {"mode", journal.mode},
                        {"inode", journal.inode}}
             .dump(2, ' ', false, nlohmann::json::error_handler_t::replace) +
         "\n";
}

/// Nothing when the journal is not whole: then it was not yet on the disk when the process died,
/// and the memory file had not been touched.
std::optional<Journal> decode(const std::vector<std::byte>& bytes) {
  const auto* begin = reinterpret_cast<const char*>(bytes.data());
  const auto json = nlohmann::json::parse(begin, begin + bytes.size(), nullptr, false);
  if (!json.is_object()) return std::nullopt;
  const auto has = [&](const char* name, bool (nlohmann::json::*is_type)() const noexcept) {
    const auto found = json.find(name);
    return found != json.end() && ((*found).*is_type)();
  };
  using Value = nlohmann::json;
  if (!has("source_hex", &Value::is_string) || !has("layer", &Value::is_string) ||
      !has("bytes", &Value::is_number_unsigned) || !has("mode", &Value::is_number_unsigned) ||
      !has("inode", &Value::is_number_unsigned)) {
    return std::nullopt;
  }
  const auto source = from_hex(json["source_hex"].get<std::string>());
  if (!source || !source->starts_with('/')) return std::nullopt;
  Journal journal{*source, json["layer"].get<std::string>(), json["bytes"].get<std::uint64_t>(),
                  json["mode"].get<std::uint64_t>(), json["inode"].get<std::uint64_t>()};
  if (!parse_layer_file_name(journal.layer_name)) return std::nullopt;
  return journal;
}

Result<std::optional<Journal>> read_journal(const Store& store, const std::string& id) {
  const std::string path = pending_path(store, journal_name(id));
  LAMINA_ASSIGN_OR_RETURN(
      const auto bytes,
      sys::read_if_there(store.pending_area(), journal_name(id), kMaxJournalBytes, path));
  return bytes ? decode(*bytes) : std::nullopt;
}

/// Another inode than the journal's is either the same file in a copied store, which is known by
/// the trailer that was put behind its data, or a stranger's that came to its place just before it
/// was moved, of which not a byte may be touched.
Result<bool> ends_with_our_trailer(const sys::OpenedFile& file, const std::string& path,
                                   const Journal& journal) {
  if (file.facts.size_bytes < format::kFooterBytes) return false;
  std::array<std::byte, format::kFooterBytes> bytes{};
  LAMINA_RETURN_IF_ERROR(
      sys::read_exactly_at(file.fd.get(), bytes, file.facts.size_bytes - bytes.size(), path));
  const auto footer = format::decode_footer(bytes, file.facts.size_bytes);
  return footer && *footer && (*footer)->data_bytes == blocks_for(journal.size_bytes) * kBlockBytes;
}

/// Cuts the file to its own length and renames it back to where it came from. False when it is not
/// in the directory: it never left its place, or is published.
Result<bool> put_back(int directory, const std::string& directory_path, const Journal& journal) {
  const std::string path = directory_path + "/" + journal.layer_name;
  const auto opened = sys::open_regular(directory, journal.layer_name, O_RDWR, path);
  if (!opened) {
    if (opened.error().kind == ErrorKind::kNotFound) return false;
    return std::unexpected(opened.error());
  }
  const bool is_the_one = opened->facts.inode == journal.inode;
  const bool is_longer = opened->facts.size_bytes > journal.size_bytes;
  bool cut = is_longer && is_the_one;
  if (is_longer && !is_the_one) {
    LAMINA_ASSIGN_OR_RETURN(cut, ends_with_our_trailer(*opened, path, journal));
  }
  if (cut) LAMINA_RETURN_IF_ERROR(sys::truncate(opened->fd.get(), journal.size_bytes, path));
  if (is_the_one && opened->facts.mode != journal.mode) {
    LAMINA_RETURN_IF_ERROR(
        sys::set_mode(opened->fd.get(), static_cast<std::uint32_t>(journal.mode), path));
  }
  LAMINA_RETURN_IF_ERROR(sys::sync(opened->fd.get(), path));
  const Status renamed =
      sys::rename_new(directory, journal.layer_name, AT_FDCWD, journal.source, journal.source);
  if (!renamed) {
    return fail(
        renamed.error().kind,
        "the memory file is now '{}' and could not be put back ({}); move it where you want it "
        "and ingest it again",
        path, renamed.error().message);
  }
  const std::string parent = sys::parent_of(journal.source);
  LAMINA_ASSIGN_OR_RETURN(const sys::Fd parent_fd, sys::open_directory(AT_FDCWD, parent, parent));
  LAMINA_RETURN_IF_ERROR(sys::sync(parent_fd.get(), parent));
  LAMINA_RETURN_IF_ERROR(sys::sync(directory, directory_path));
  return true;
}

/// The staging directory of an adoption; nothing only when it is really gone. Any other failure to
/// open it must stop whoever asks: what is in there may be the only copy of a memory file.
Result<std::optional<sys::Fd>> open_staging(const Store& store, const std::string& id) {
  auto directory = sys::open_directory(store.pending_area(), id, pending_path(store, id));
  if (directory) return std::optional(std::move(*directory));
  if (directory.error().kind == ErrorKind::kNotFound &&
      !sys::name_exists(store.pending_area(), id)) {
    return std::nullopt;
  }
  return std::unexpected(directory.error());
}

/// Undoes adoption `id` whose staging directory, if it still exists, is `directory`, locked by us.
/// Returns the path that a memory file was put back to, or nothing when none had to be.
Result<std::optional<std::string>> undo_adoption(const Store& store, const std::string& id,
                                                 const std::optional<sys::Fd>& directory) {
  LAMINA_ASSIGN_OR_RETURN(const std::optional<Journal> journal, read_journal(store, id));
  const std::string path = pending_path(store, id);
  const std::string area = pending_path(store, ".");
  std::optional<std::string> restored;
  if (directory && journal) {
    LAMINA_ASSIGN_OR_RETURN(const bool moved, put_back(directory->get(), path, *journal));
    if (moved) restored = journal->source;
  } else if (directory) {
    // Without a journal no memory file was moved in yet, and the directory is empty. If it is not,
    // something else happened to it, and what is in it may be the only copy.
    LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                            sys::list_directory(directory->get(), path));
    if (!names.empty()) {
      return fail(ErrorKind::kFailed, "'{}' has files but no journal '{}'; look what they are",
                  path, journal_name(id));
    }
  }
  // The memory file is not in there (any more): all that is left can be made again, or is the
  // directory of a snapshot that was replaced, once that is on the disk.
  // The journal goes when the directory has: one without a journal would stay for ever.
  std::vector<std::string> notes;  // the next opening of the store has its own
  LAMINA_RETURN_IF_ERROR(remove_pending(store, id, notes));
  LAMINA_RETURN_IF_ERROR(sys::remove_file(store.pending_area(), journal_name(id),
                                          pending_path(store, journal_name(id))));
  LAMINA_RETURN_IF_ERROR(sys::sync(store.pending_area(), area));
  return restored;
}

/// Ends adoption `id` if its process is gone.
Result<std::optional<std::string>> end_if_unfinished(const Store& store, const std::string& id) {
  LAMINA_ASSIGN_OR_RETURN(const std::optional<sys::Fd> directory, open_staging(store, id));
  if (directory) {
    LAMINA_ASSIGN_OR_RETURN(const bool unused,
                            sys::try_lock(directory->get(), pending_path(store, id)));
    if (!unused) return std::nullopt;
    // It may have been published between the two calls: then the name is gone, or is another's.
    LAMINA_ASSIGN_OR_RETURN(const std::optional<sys::Fd> again, open_staging(store, id));
    if (!again) return std::nullopt;
    LAMINA_ASSIGN_OR_RETURN(const sys::FileFacts locked, sys::facts_of(directory->get(), id));
    LAMINA_ASSIGN_OR_RETURN(const sys::FileFacts named, sys::facts_of(again->get(), id));
    if (!locked.same_file(named)) return std::nullopt;
  }
  return undo_adoption(store, id, directory);
}

/// What a pause was about to put in its journal's place goes with the pause. When it began with
/// that, nobody else knows of it. (Sorted, it comes after the pause's directory and journal.)
void remove_if_orphaned(const Store& store, const std::string& name) {
  const std::string id = name.substr(0, name.size() - kNewJournalSuffix.size());
  const int area = store.pending_area();
  if (sys::name_exists(area, id) || sys::name_exists(area, journal_name(id))) return;
  static_cast<void>(sys::remove_file(area, name, pending_path(store, name)));
}

}  // namespace

Result<Adoption> Adoption::take_over(const Store& store, const Staging& staging, const Uuid& id,
                                     const std::string& source, const std::string& layer_name,
                                     const sys::FileFacts& facts) {
  Adoption adoption(store, id.to_string());
  const std::string text = encode({source, layer_name, facts.size_bytes, facts.mode, facts.inode});
  const std::string name = journal_name(adoption.id_);
  LAMINA_RETURN_IF_ERROR(sys::write_new_file(
      store.pending_area(), name, std::as_bytes(std::span(text)), pending_path(store, name)));
  // The journal's name and the staging directory's must be on the disk before the file moves.
  LAMINA_RETURN_IF_ERROR(sys::sync(store.pending_area(), pending_path(store, ".")));
  LAMINA_RETURN_IF_ERROR(
      sys::rename_new(AT_FDCWD, source, staging.fd(), layer_name, staging.file_path(layer_name)));
  // The rename went by path: what it moved must be what was checked. If not, going out of scope
  // puts it back.
  LAMINA_ASSIGN_OR_RETURN(
      const sys::OpenedFile moved,
      sys::open_regular(staging.fd(), layer_name, O_RDONLY, staging.file_path(layer_name)));
  if (!moved.facts.same_file(facts)) {
    return fail(ErrorKind::kFailed, "'{}' was exchanged while it was taken over; try again",
                source);
  }
  LAMINA_RETURN_IF_ERROR(sys::sync(staging.fd(), staging.path()));
  return adoption;
}

Adoption::~Adoption() {
  if (store_ == nullptr) return;
  // What fails here is tried again, and reported, by the next writer of the store.
  static_cast<void>(contain("put back", [&] { return undo(); }));
}

void Adoption::commit(std::vector<std::string>& notes) {
  const Store& store = *std::exchange(store_, nullptr);
  const Status removed = sys::remove_file(store.pending_area(), journal_name(id_),
                                          pending_path(store, journal_name(id_)));
  if (!removed) notes.push_back(removed.error().message);
}

void Adoption::leave() { store_ = nullptr; }

Status Adoption::undo() {
  const Store& store = *std::exchange(store_, nullptr);
  LAMINA_ASSIGN_OR_RETURN(const std::optional<sys::Fd> directory, open_staging(store, id_));
  LAMINA_RETURN_IF_ERROR(undo_adoption(store, id_, directory));
  return {};
}

Status end_unfinished_adoptions(const Store& store, std::vector<std::string>& notes) {
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                          sys::list_directory(store.pending_area(), pending_path(store, ".")));
  for (const std::string& name : names) {
    if (name.ends_with(kNewJournalSuffix)) {
      remove_if_orphaned(store, name);
      continue;
    }
    const bool is_journal = name.ends_with(kJournalSuffix);
    const std::string id = is_journal ? name.substr(0, name.size() - kJournalSuffix.size()) : name;
    // What is here may be the only copy of something: what is not an adoption's is left alone, and
    // nothing that goes wrong keeps other snapshots from being written.
    if (!Uuid::parse(id)) {
      notes.push_back(fmt::format("'{}' is none of lamina's files; look what it is",
                                  pending_path(store, name)));
      continue;
    }
    const auto pause = read_pause_journal(store, *Uuid::parse(id));
    if (!pause) {
      notes.push_back(pause.error().message);
      continue;
    }
    if (*pause) continue;  // `lamina recover` ends it
    const auto ended = end_if_unfinished(store, id);
    if (!ended) {
      notes.push_back(
          fmt::format("an ingest into '{}' did not end: {}", store.path(), ended.error().message));
    } else if (*ended) {
      notes.push_back(fmt::format("an ingest into '{}' did not end: '{}' is back in its place",
                                  store.path(), **ended));
    }
  }
  return {};
}

}  // namespace lamina::store
