#include "store/adoption.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "engine/layer.h"
#include "engine/lost_writes.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/lock.h"
#include "os/path_walk.h"
#include "os/read_lease.h"
#include "store/pause_journal.h"
#include "store/pending_area.h"
#include "store/snapshot_directory.h"

namespace lamina::store {
namespace {

struct Journal {
  StoreIdentity belongs_to;
  std::string source;
  std::string layer_name;
  std::uint64_t size_bytes = 0;
  std::uint64_t mode = 0;
  std::uint64_t user = 0;
  std::uint64_t group = 0;
  // What tells the file, and the directory that it came from, from all others.
  std::uint64_t inode = 0;
  std::int64_t born_ns = 0;
  std::uint64_t directory_inode = 0;
  // Of the copy that takes its place when the disk does not have it; 0 when there is none.
  std::uint64_t copy_inode = 0;
  std::int64_t copy_born_ns = 0;
};

bool is_of(const Journal& journal, const os::FileFacts& file) {
  if (file.inode == journal.inode && file.born_ns == journal.born_ns) return true;
  return journal.copy_inode != 0 && file.inode == journal.copy_inode &&
         file.born_ns == journal.copy_born_ns;
}

constexpr std::uint64_t kJournalVersion = 2;

/// A memory file has no use for more, and a journal must not be able to make a program of it.
constexpr std::uint32_t kPermissionBits = 0777;

/// While it is here.
constexpr std::uint32_t kOwnMode = 0600;

/// A copy until it is whole.
constexpr const char* kCopyName = ".copy";

/// Beside a file without a trailer whose sync has failed.
constexpr const char* kLostName = ".not-synced";

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
  return nlohmann::json{{"adoption", kJournalVersion},
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
  if (!has("source_hex", &Value::is_string) || !has("layer", &Value::is_string)) {
    return std::nullopt;
  }
  for (const char* number :
       {"adoption", "bytes", "mode", "user", "group", "inode", "directory_inode", "copy_inode"}) {
    if (!has(number, &Value::is_number_unsigned)) return std::nullopt;
  }
  if (!has("born_ns", &Value::is_number_integer) ||
      !has("copy_born_ns", &Value::is_number_integer) || json["adoption"] != kJournalVersion) {
    return std::nullopt;
  }
  const auto source = from_hex(json["source_hex"].get<std::string>());
  if (!source || !source->starts_with('/')) return std::nullopt;
  const auto owner = json.find("belongs_to");
  const auto identity = owner == json.end() ? std::nullopt : identity_from_json(*owner);
  if (!identity) return std::nullopt;
  const auto number = [&](const char* name) { return json[name].get<std::uint64_t>(); };
  Journal journal;
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

Result<std::optional<Journal>> read_journal(const Store& store, const std::string& id) {
  const std::string path = pending_path(store, journal_name(id));
  LAMINA_ASSIGN_OR_RETURN(
      const auto bytes,
      os::read_if_exists(store.pending_area(), journal_name(id), kMaxJournalBytes, path));
  return bytes ? decode(*bytes) : std::nullopt;
}

/// Why an adoption is another store's, as a copy of that one has it; empty: it is ours. What is
/// there of it is a copy, and its memory file may be back in its place, which is not ours to touch.
Result<std::string> why_not_ours(const Store& store, const std::string& id) {
  LAMINA_ASSIGN_OR_RETURN(const std::optional<Journal> journal, read_journal(store, id));
  return journal ? why_foreign(journal->belongs_to, store.identity()) : std::string();
}

/// Where the file goes: `source_directory` when we have it open, else what the journal's path leads
/// to, if that is the directory which the file came from. The two are on one file system.
Result<os::Fd> open_source_directory(int source_directory, const Journal& journal,
                                     const os::FileFacts& file) {
  const std::string parent = os::parent_of(journal.source);
  os::Fd directory;
  if (source_directory >= 0) {
    LAMINA_ASSIGN_OR_RETURN(directory, os::open_directory(source_directory, ".", parent));
  } else {
    LAMINA_ASSIGN_OR_RETURN(directory,
                            os::open_user_path(parent, O_RDONLY | O_DIRECTORY, 0, parent));
  }
  LAMINA_ASSIGN_OR_RETURN(const os::FileFacts facts, os::facts_of(directory.get(), parent));
  if (facts.inode != journal.directory_inode || facts.device != file.device) {
    return fail(ErrorKind::kFailed, "'{}' is not the directory that it was taken from", parent);
  }
  return directory;
}

/// Puts a checked copy in the place of a file that the disk may not have. The journal knows it
/// before it has the name.
Status replace_by_copy(const Store& store, const std::string& id, int directory,
                       const std::string& path, Journal& journal, const engine::Layer& layer) {
  LAMINA_RETURN_IF_ERROR(os::remove_file(directory, kCopyName, path));
  LAMINA_ASSIGN_OR_RETURN(
      const os::Fd copy,
      os::open_at(directory, kCopyName, O_RDWR | O_CREAT | O_EXCL, path, kOwnMode));
  LAMINA_RETURN_IF_ERROR(engine::rewrite_memory_file(layer, copy.get(), path));
  LAMINA_RETURN_IF_ERROR(os::sync(copy.get(), path));
  LAMINA_ASSIGN_OR_RETURN(const os::FileFacts facts, os::facts_of(copy.get(), path));
  journal.copy_inode = facts.inode;
  journal.copy_born_ns = facts.born_ns;
  const std::string text = encode(journal);
  LAMINA_RETURN_IF_ERROR(os::replace_file(store.pending_area(), id + std::string(kNewJournalSuffix),
                                          journal_name(id), std::as_bytes(std::span(text)),
                                          pending_path(store, ".")));
  LAMINA_RETURN_IF_ERROR(os::sync(store.pending_area(), pending_path(store, ".")));
  LAMINA_RETURN_IF_ERROR(
      os::rename_over(directory, kCopyName, directory, journal.layer_name, path));
  return os::sync(directory, path);
}

/// A file with a trailer was about to be synced, or has been, or its sync has failed. True when the
/// disk has it, by now; false when it did not come so far. `may_copy`: the disk that has just
/// failed is not filled further.
Result<bool> make_sure_of_data(const Store& store, const std::string& id, int directory,
                               const std::string& path, Journal& journal,
                               const os::OpenedFile& file, bool may_copy) {
  if (os::name_exists(directory, kLostName)) {
    return fail(ErrorKind::kCorrupt,
                "'{}' was not completely written to the disk, so part of it may be lost; have the "
                "VMM write the memory again",
                path);
  }
  if (file.facts.size_bytes <= journal.size_bytes) return false;
  const auto layer = engine::Layer::open(directory, journal.layer_name, path,
                                         *parse_layer_file_name(journal.layer_name), true);
  if (!layer && layer.error().kind != ErrorKind::kCorrupt) return std::unexpected(layer.error());
  // Without a whole trailer it had not come so far; or the power has failed, and nothing is cached.
  if (!layer || layer->trailer()->memory_bytes != journal.size_bytes) return false;
  const Status synced = os::sync(file.fd.get(), path);
  if (synced && engine::is_on_disk(*layer, directory, journal.layer_name)) return true;
  if (!may_copy) {
    return fail(ErrorKind::kFailed,
                "not all of it could be written to the disk; the next command that writes to the "
                "store tries again");
  }
  LAMINA_RETURN_IF_ERROR(replace_by_copy(store, id, directory, path, journal, *layer));
  return true;
}

/// Makes the file what it was before it was taken over. `is_on_disk`: its data is known to be
/// there.
Status restore(int directory, const std::string& path, const Journal& journal, bool is_on_disk) {
  LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile file, os::open_regular(directory, journal.layer_name,
                                                                      O_RDWR | O_NOFOLLOW, path));
  if (file.facts.size_bytes > journal.size_bytes) {
    LAMINA_RETURN_IF_ERROR(os::truncate(file.fd.get(), journal.size_bytes, path));
  }
  if (file.facts.user != journal.user || file.facts.group != journal.group) {
    LAMINA_RETURN_IF_ERROR(os::set_owner(file.fd.get(), static_cast<std::uint32_t>(journal.user),
                                         static_cast<std::uint32_t>(journal.group), path));
  }
  if (file.facts.mode != journal.mode) {
    LAMINA_RETURN_IF_ERROR(os::set_mode(
        file.fd.get(), static_cast<std::uint32_t>(journal.mode) & kPermissionBits, path));
  }
  const Status synced = os::sync(file.fd.get(), path);
  if (synced || is_on_disk) return synced;
  // The next sync would succeed, and nobody could tell what the disk has.
  static_cast<void>(os::open_at(directory, kLostName, O_WRONLY | O_CREAT, path));
  return synced;
}

/// Makes the file what it was and renames it back to where it came from. False when it is not in
/// the directory: it never left its place, or is published.
Result<bool> put_back(const Store& store, const std::string& id, int directory,
                      const std::string& directory_path, Journal journal, int source_directory) {
  const std::string path = directory_path + "/" + journal.layer_name;
  const auto named = os::facts_of_name(directory, journal.layer_name, path);
  if (!named && named.error().kind == ErrorKind::kNotFound) return false;
  LAMINA_ASSIGN_OR_RETURN(const os::OpenedFile file, os::open_regular(directory, journal.layer_name,
                                                                      O_RDONLY | O_NOFOLLOW, path));
  if (!is_of(journal, file.facts)) {
    return fail(ErrorKind::kFailed,
                "'{}' is not the file that was taken from '{}' (the store is a copy, or came from "
                "elsewhere) and is left alone; move it where you want it",
                path, journal.source);
  }
  os::Fd parent;
  const Status moved = [&]() -> Status {
    LAMINA_ASSIGN_OR_RETURN(parent, open_source_directory(source_directory, journal, file.facts));
    const std::string name = journal.source.substr(journal.source.rfind('/') + 1);
    if (os::name_exists(parent.get(), name)) {
      return system_failure("rename to", journal.source, EEXIST);
    }
    LAMINA_ASSIGN_OR_RETURN(
        const bool is_on_disk,
        make_sure_of_data(store, id, directory, path, journal, file, source_directory < 0));
    LAMINA_RETURN_IF_ERROR(restore(directory, path, journal, is_on_disk));
    return os::rename_new(directory, journal.layer_name, parent.get(), name, journal.source);
  }();
  if (!moved) {
    return fail(
        moved.error().kind,
        "the memory file is now '{}' and could not be put back ({}); move it where you want it "
        "and ingest it again",
        path, moved.error().message);
  }
  LAMINA_RETURN_IF_ERROR(os::sync(parent.get(), os::parent_of(journal.source)));
  LAMINA_RETURN_IF_ERROR(os::sync(directory, directory_path));
  return true;
}

/// The staging directory of an adoption; nothing only when it is really gone. Any other failure to
/// open it must stop whoever asks: what is in there may be the only copy of a memory file.
Result<std::optional<os::Fd>> open_staging(const Store& store, const std::string& id) {
  auto directory = os::open_directory(store.pending_area(), id, pending_path(store, id));
  if (directory) return std::optional(std::move(*directory));
  if (directory.error().kind == ErrorKind::kNotFound &&
      !os::name_exists(store.pending_area(), id)) {
    return std::nullopt;
  }
  return std::unexpected(directory.error());
}

/// Undoes adoption `id` whose staging directory, if it still exists, is `directory`, locked by us.
/// Returns the path that a memory file was put back to, or nothing when none had to be.
/// `source_directory` is where it came from, if we have that open.
Result<std::optional<std::string>> undo_adoption(const Store& store, const std::string& id,
                                                 const std::optional<os::Fd>& directory,
                                                 int source_directory = -1) {
  LAMINA_ASSIGN_OR_RETURN(const std::optional<Journal> journal, read_journal(store, id));
  const std::string path = pending_path(store, id);
  const std::string area = pending_path(store, ".");
  std::optional<std::string> restored;
  if (directory && journal) {
    LAMINA_ASSIGN_OR_RETURN(
        const bool moved, put_back(store, id, directory->get(), path, *journal, source_directory));
    if (moved) restored = journal->source;
  } else if (directory) {
    // Without a journal no memory file was moved in yet, and the directory is empty. If it is not,
    // something else happened to it, and what is in it may be the only copy.
    LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                            os::list_directory(directory->get(), path));
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
  LAMINA_RETURN_IF_ERROR(os::remove_file(store.pending_area(), journal_name(id),
                                         pending_path(store, journal_name(id))));
  LAMINA_RETURN_IF_ERROR(os::sync(store.pending_area(), area));
  return restored;
}

/// Ends adoption `id` if its process is gone.
Result<std::optional<std::string>> end_if_unfinished(const Store& store, const std::string& id) {
  LAMINA_ASSIGN_OR_RETURN(const std::optional<os::Fd> directory, open_staging(store, id));
  if (directory) {
    LAMINA_ASSIGN_OR_RETURN(const bool unused,
                            os::try_lock(directory->get(), pending_path(store, id)));
    if (!unused) return std::nullopt;
    // It may have been published between the two calls: then the name is gone, or is another's.
    LAMINA_ASSIGN_OR_RETURN(const std::optional<os::Fd> again, open_staging(store, id));
    if (!again) return std::nullopt;
    LAMINA_ASSIGN_OR_RETURN(const os::FileFacts locked, os::facts_of(directory->get(), id));
    LAMINA_ASSIGN_OR_RETURN(const os::FileFacts named, os::facts_of(again->get(), id));
    if (!locked.same_file(named)) return std::nullopt;
  }
  return undo_adoption(store, id, directory);
}

/// What a pause was about to put in its journal's place goes with the pause. When it began with
/// that, nobody else knows of it. (Sorted, it comes after the pause's directory and journal.)
void remove_if_orphaned(const Store& store, const std::string& name) {
  const std::string id = name.substr(0, name.size() - kNewJournalSuffix.size());
  const int area = store.pending_area();
  if (os::name_exists(area, id) || os::name_exists(area, journal_name(id))) return;
  static_cast<void>(os::remove_file(area, name, pending_path(store, name)));
}

}  // namespace

Result<Adoption> Adoption::take_over(const Store& store, const Staging& staging, const Uuid& id,
                                     const AdoptedFile& source, const std::string& layer_name) {
  Adoption adoption(store, id.to_string());
  LAMINA_ASSIGN_OR_RETURN(adoption.source_directory_,
                          os::open_directory(source.directory, ".", os::parent_of(source.path)));
  const Status taken = adoption.take(staging, source, layer_name);
  if (taken) return adoption;
  if (adoption.store_ == nullptr) return std::unexpected(taken.error());
  const Status undone = adoption.undo();
  if (undone) return std::unexpected(taken.error());
  return fail(taken.error().kind, "{}; {}", taken.error().message, undone.error().message);
}

Status Adoption::take(const Staging& staging, const AdoptedFile& source,
                      const std::string& layer_name) {
  const int from = source_directory_.get();
  const std::string parent = os::parent_of(source.path);
  LAMINA_ASSIGN_OR_RETURN(const os::FileFacts directory, os::facts_of(from, parent));
  Journal journal;
  journal.belongs_to = store_->identity();
  journal.source = source.path;
  journal.layer_name = layer_name;
  journal.size_bytes = source.facts.size_bytes;
  journal.mode = source.facts.mode;
  journal.user = source.facts.user;
  journal.group = source.facts.group;
  journal.inode = source.facts.inode;
  journal.born_ns = source.facts.born_ns;
  journal.directory_inode = directory.inode;
  const std::string text = encode(journal);
  const std::string name = journal_name(id_);
  LAMINA_RETURN_IF_ERROR(os::write_new_file(
      store_->pending_area(), name, std::as_bytes(std::span(text)), pending_path(*store_, name)));
  // The journal's name and the staging directory's must be on the disk before the file moves.
  LAMINA_RETURN_IF_ERROR(os::sync(store_->pending_area(), pending_path(*store_, ".")));
  const std::string path = staging.file_path(layer_name);
  LAMINA_RETURN_IF_ERROR(os::rename_new(from, source.name, staging.fd(), layer_name, path));
  // The rename went by name: what it moved must be what was checked. Another file goes back at
  // once, as the journal is not about it.
  const auto moved = os::facts_of_name(staging.fd(), layer_name, path);
  if (!moved || !moved->same_file(source.facts)) {
    const Status back = os::rename_new(staging.fd(), layer_name, from, source.name, source.path);
    if (!back) {
      leave();
      return fail(ErrorKind::kFailed,
                  "'{}' was exchanged while it was taken over, and what came in its place is now "
                  "'{}' and could not be put back ({}); move it where it belongs",
                  source.path, path, back.error().message);
    }
    LAMINA_RETURN_IF_ERROR(os::sync(from, parent));
    LAMINA_RETURN_IF_ERROR(os::sync(staging.fd(), staging.path()));
    return fail(ErrorKind::kFailed, "'{}' was exchanged while it was taken over; try again",
                source.path);
  }
  // From here on nobody else can open it; then whether somebody has is a question with an answer.
  if (source.facts.user != ::geteuid()) {
    LAMINA_RETURN_IF_ERROR(os::take_ownership(source.file, path));
  }
  LAMINA_RETURN_IF_ERROR(os::set_mode(source.file, kOwnMode, path));
  LAMINA_ASSIGN_OR_RETURN(const os::FileFacts now, os::facts_of(source.file, path));
  if (now.link_count != 1) {
    return fail(ErrorKind::kBusy, "'{}' was given another name while it was taken over; try again",
                source.path);
  }
  const os::Writers writers = os::writers_of(source.file);
  LAMINA_RETURN_IF_ERROR(os::refuse_writers(writers, source.path));
  if (writers == os::Writers::kUnknown) {
    return system_failure("lease to find writers of", source.path, EOPNOTSUPP);
  }
  return os::sync(staging.fd(), staging.path());
}

Adoption::~Adoption() {
  if (store_ == nullptr) return;
  // What fails here is tried again, and reported, by the next writer of the store.
  static_cast<void>(contain("put back", [&] { return undo(); }));
}

void Adoption::commit(std::vector<std::string>& notes) {
  const Store& store = *std::exchange(store_, nullptr);
  const Status removed = os::remove_file(store.pending_area(), journal_name(id_),
                                         pending_path(store, journal_name(id_)));
  if (!removed) notes.push_back(removed.error().message);
}

void Adoption::leave() { store_ = nullptr; }

Status Adoption::undo() {
  const Store& store = *std::exchange(store_, nullptr);
  LAMINA_ASSIGN_OR_RETURN(const std::optional<os::Fd> directory, open_staging(store, id_));
  LAMINA_RETURN_IF_ERROR(undo_adoption(store, id_, directory, source_directory_.get()));
  return {};
}

Status end_unfinished_adoptions(const Store& store, std::vector<std::string>& notes) {
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                          os::list_directory(store.pending_area(), pending_path(store, ".")));
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
    const auto foreign = why_not_ours(store, id);
    if (!foreign || !foreign->empty()) {
      notes.push_back(!foreign
                          ? foreign.error().message
                          : fmt::format("ingest {} did not end, and is not acted upon: {}; to "
                                        "make it this store's: lamina recover {} --adopt-store",
                                        id, *foreign, store.path()));
      continue;
    }
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

Result<std::vector<std::string>> adopt_foreign_adoptions(const Store& store) {
  LAMINA_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                          os::list_directory(store.pending_area(), pending_path(store, ".")));
  const std::string area = pending_path(store, ".");
  std::vector<std::string> taken;
  for (const std::string& name : names) {
    if (!name.ends_with(kJournalSuffix)) continue;
    const std::string id = name.substr(0, name.size() - kJournalSuffix.size());
    if (!Uuid::parse(id)) continue;
    LAMINA_ASSIGN_OR_RETURN(std::optional<Journal> journal, read_journal(store, id));
    if (!journal || why_foreign(journal->belongs_to, store.identity()).empty()) continue;
    LAMINA_ASSIGN_OR_RETURN(const std::string here, os::real_path(store.path()));
    LAMINA_ASSIGN_OR_RETURN(const std::optional<os::Fd> staging, open_staging(store, id));
    if (staging) {
      // What was copied is another file, in another directory; it goes into this one's.
      const std::string path = pending_path(store, id) + "/" + journal->layer_name;
      const auto file = os::open_regular(staging->get(), journal->layer_name, O_RDONLY, path);
      if (!file && file.error().kind != ErrorKind::kNotFound) {
        return std::unexpected(file.error());
      }
      if (file) {
        journal->inode = file->facts.inode;
        journal->born_ns = file->facts.born_ns;
        journal->user = file->facts.user;
        journal->group = file->facts.group;
      }
    }
    LAMINA_ASSIGN_OR_RETURN(const os::FileFacts directory, os::facts_of(store.fd(), store.path()));
    journal->directory_inode = directory.inode;
    journal->copy_inode = 0;
    journal->copy_born_ns = 0;
    journal->belongs_to = store.identity();
    journal->source = fmt::format("{}/{}.memory", here, id);
    const std::string text = encode(*journal);
    LAMINA_RETURN_IF_ERROR(os::replace_file(store.pending_area(),
                                            id + std::string(kNewJournalSuffix), name,
                                            std::as_bytes(std::span(text)), area));
    LAMINA_RETURN_IF_ERROR(os::sync(store.pending_area(), area));
    taken.push_back(id);
  }
  return taken;
}

}  // namespace lamina::store
