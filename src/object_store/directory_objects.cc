#include "object_store/directory_objects.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <span>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/escape.h"
#include "object_store/answers.h"
#include "object_store/directory_listing.h"
#include "object_store/key.h"
#include "os/clock.h"
#include "os/directory.h"
#include "os/file.h"
#include "os/path_walk.h"

namespace lamina::object_store {
namespace {

constexpr std::chrono::hours kLeftoverAge{24};
/// A directory on the path may be removed by another process after each look at it.
constexpr int kPublishAttempts = 100;

std::chrono::sys_seconds now() {
  return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
}

std::chrono::sys_seconds modified_of(const os::FileFacts& facts) {
  return std::chrono::sys_seconds(
      std::chrono::seconds(facts.modified_ns / os::kNanosecondsPerSecond));
}

Outcome outcome_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kPermission:
      return Outcome::kDenied;
    case ErrorKind::kCorrupt:
      return Outcome::kCorrupt;
    case ErrorKind::kNoSpace:
    case ErrorKind::kUsage:
    case ErrorKind::kUnsupported:
      return Outcome::kRefused;
    default:
      return Outcome::kUnavailable;
  }
}

Answer done() {
  Answer answer;
  answer.outcome = Outcome::kDone;
  return answer;
}

/// The directories of `key`, from the first one to that of the file.
std::vector<std::string> directories_of(std::string_view key) {
  std::vector<std::string> names;
  for (std::size_t slash = key.find('/'); slash != std::string_view::npos; slash = key.find('/')) {
    names.emplace_back(key.substr(0, slash));
    key.remove_prefix(slash + 1);
  }
  return names;
}

bool is_in_incoming(std::string_view key) { return key.substr(0, key.find('/')) == kIncomingName; }

std::string file_name_of(std::string_view key) {
  return std::string(key.substr(key.rfind('/') + 1));  // npos + 1 is 0
}

/// Open directories on the way to an object: the root, then those of its key.
struct Path {
  std::vector<os::Fd> directories;
  [[nodiscard]] int parent() const { return directories.back().get(); }
};

/// Opens the directories of `key` below `root`, and makes those that are missing if `makes`.
/// kNotFound if one is missing; kUsage if one is a file.
Result<Path> open_path(int root, std::string_view key, bool makes, const std::string& object) {
  Path path;
  LAMINA_ASSIGN_OR_RETURN(os::Fd top, os::open_directory(root, ".", object));
  path.directories.push_back(std::move(top));
  for (const std::string& name : directories_of(key)) {
    if (makes) {
      const auto made = os::make_directory(path.parent(), name, object);
      if (!made) return std::unexpected(made.error());
    }
    auto next = os::open_at(path.parent(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, object);
    if (!next) {
      if (makes && next.error().error_number == ENOTDIR) {
        return fail(ErrorKind::kUsage, "'{}': '{}' on its path is an object", object,
                    escaped_value(name));
      }
      return std::unexpected(next.error());
    }
    path.directories.push_back(std::move(*next));
  }
  return path;
}

/// From the file's directory up to the root.
Status sync_path(const Path& path, const std::string& object) {
  for (auto at = path.directories.rbegin(); at != path.directories.rend(); ++at) {
    LAMINA_RETURN_IF_ERROR(os::sync(at->get(), object));
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<DirectoryObjects>> DirectoryObjects::open(const std::string& path) {
  std::unique_ptr<DirectoryObjects> objects(new DirectoryObjects());
  objects->path_ = path;
  auto root = os::open_directory(AT_FDCWD, path, path);
  if (!root) {
    if (root.error().kind != ErrorKind::kNotFound) return std::unexpected(root.error());
    return with_remedy(std::unexpected(root.error()), "run: mkdir -p {}", escaped_value(path));
  }
  objects->root_ = std::move(*root);
  objects->remove_old_leftovers();
  return objects;
}

DirectoryObjects::~DirectoryObjects() {
  for (const auto& [name, upload] : uploads_) discard(upload->staged);
}

void DirectoryObjects::discard(const Staged& staged) {
  static_cast<void>(os::remove_file(staged.incoming.get(), staged.name, staged.name));
}

void DirectoryObjects::remove_old_leftovers() const {
  const std::string name(kIncomingName);
  const auto incoming = os::open_directory(root_.get(), name, path_);
  if (!incoming) return;
  const auto names = os::list_directory(incoming->get(), path_);
  if (!names) return;
  for (const std::string& file : *names) {
    const auto facts = os::facts_of_name(incoming->get(), file, path_);
    if (!facts || !facts->is_regular || now() - modified_of(*facts) < kLeftoverAge) continue;
    static_cast<void>(os::remove_file(incoming->get(), file, path_));
  }
}

Answer DirectoryObjects::failed(const Request& request, const Error& error) const {
  return failed_answer(outcome_of(error.kind), with_context(word_of(request.operation), error));
}

Answer DirectoryObjects::carry_out(const Request& request) {
  if (request.operation != Operation::kList && is_in_incoming(request.key)) {
    return failed_answer(Outcome::kRefused,
                         Error{ErrorKind::kUsage, fmt::format("key '{}' is that of a directory in "
                                                              "which objects are written",
                                                              request.key)});
  }
  Answer answer;
  switch (request.operation) {
    case Operation::kGet:
      answer = get(request);
      break;
    case Operation::kHead:
      answer = head(request);
      break;
    case Operation::kRemove:
      answer = remove(request);
      break;
    case Operation::kList:
      answer = list(request);
      break;
    case Operation::kPut:
      answer = put(request);
      break;
    case Operation::kBeginUpload:
      answer = begin_upload(request);
      break;
    case Operation::kUploadPart:
      answer = upload_part(request);
      break;
    case Operation::kCompleteUpload:
      answer = complete_upload(request);
      break;
    case Operation::kAbortUpload:
      answer = abort_upload(request);
      break;
    case Operation::kListUploads:
      answer = done();  // remove_old_leftovers() needs no list
      break;
  }
  if (!answer.server_time) answer.server_time = now();
  return answer;
}

namespace {

/// The file of an object; kNotFound if there is none, also if the key is that of a directory.
Result<os::OpenedFile> open_object(int root, const std::string& key, const std::string& name) {
  auto opened = os::open_regular(root, key, O_RDONLY, name);
  if (opened) return opened;
  const auto facts = os::facts_of_name(root, key, name);
  if (facts && facts->is_directory) return fail(ErrorKind::kNotFound, "'{}' does not exist", name);
  return opened;
}

/// Another file, or one that was written since, has another one.
std::string tag_of(const os::FileFacts& facts) {
  return fmt::format("{}-{}-{}-{}", facts.device, facts.inode, facts.size_bytes, facts.modified_ns);
}

/// Offset and length of what is asked for; kCorrupt if the object does not have it.
Result<ByteRange> range_in(const Request& request, std::uint64_t size, const std::string& name) {
  if (request.range) {
    const ByteRange& range = *request.range;
    if (range.offset <= size && range.length <= size - range.offset) return range;
    return fail(ErrorKind::kCorrupt, "'{}' has {} bytes; the range ends at {}", name, size,
                range.offset + range.length);
  }
  const std::uint64_t limit = request.buffer.empty() ? request.max_bytes : request.buffer.size();
  if (size <= limit) return ByteRange{.offset = 0, .length = size};
  return fail(ErrorKind::kCorrupt, "'{}' has {} bytes; at most {} are read", name, size, limit);
}

}  // namespace

Answer DirectoryObjects::get(const Request& request) const {
  const std::string name = name_of(request.key);
  const auto opened = open_object(root_.get(), request.key, name);
  if (!opened) {
    if (opened.error().kind != ErrorKind::kNotFound) return failed(request, opened.error());
    return failed_answer(Outcome::kAbsent, with_context("get", opened.error()));
  }
  Answer answer = done();
  answer.tag = tag_of(opened->facts);
  if (!request.expected_tag.empty() && answer.tag != request.expected_tag) {
    return failed_answer(Outcome::kCorrupt,
                         fmt::format("get '{}': the object was replaced meanwhile", name));
  }
  const auto range = range_in(request, opened->facts.size_bytes, name);
  if (!range) return failed(request, range.error());
  answer.bytes.resize(range->length);
  const Status read = os::read_exactly_at(opened->fd.get(), answer.bytes, range->offset, name);
  if (!read) return failed(request, read.error());
  if (request.expected_digest && sha256_of(answer.bytes) != *request.expected_digest) {
    return failed_answer(
        Outcome::kCorrupt,
        fmt::format("get '{}': the bytes are not those of the expected digest", name));
  }
  answer.size_bytes = range->length;
  return answer;
}

Answer DirectoryObjects::head(const Request& request) const {
  const auto opened = open_object(root_.get(), request.key, name_of(request.key));
  if (!opened) {
    if (opened.error().kind != ErrorKind::kNotFound) return failed(request, opened.error());
    return failed_answer(Outcome::kAbsent, with_context("head", opened.error()));
  }
  Answer answer = done();
  answer.size_bytes = opened->facts.size_bytes;
  answer.modified = modified_of(opened->facts);
  answer.tag = tag_of(opened->facts);
  return answer;
}

Answer DirectoryObjects::remove(const Request& request) const {
  const std::string name = name_of(request.key);
  const auto path = open_path(root_.get(), request.key, false, name);
  if (!path) {
    return path.error().kind == ErrorKind::kNotFound ? done() : failed(request, path.error());
  }
  const std::string file = file_name_of(request.key);
  if (::unlinkat(path->parent(), file.c_str(), 0) != 0 && errno != ENOENT) {
    if (errno == EISDIR) return done();
    return failed(request, system_error("unlink", name, errno));
  }
  const Status synced = os::sync(path->parent(), name);
  if (!synced) return failed_answer(Outcome::kUnknown, synced.error());
  // Empty directories, from the last one on; one that is not empty any more ends it.
  const std::vector<std::string> directories = directories_of(request.key);
  for (std::size_t i = directories.size(); i > 0; --i) {
    const int above = path->directories.at(i - 1).get();
    if (!os::remove_directory(above, directories.at(i - 1), name)) break;
  }
  return done();
}

Answer DirectoryObjects::list(const Request& request) const {
  auto entries = list_objects(
      root_.get(), {.prefix = request.key, .after = request.after, .max_keys = request.max_keys},
      path_);
  if (!entries) return failed(request, entries.error());
  Answer answer = done();
  answer.has_more = entries->size() > request.max_keys;
  if (answer.has_more) entries->resize(request.max_keys);
  answer.entries = std::move(*entries);
  return answer;
}

Result<os::Fd> DirectoryObjects::open_incoming() const {
  const std::string name(kIncomingName);
  LAMINA_ASSIGN_OR_RETURN([[maybe_unused]] const bool made,
                          os::make_directory(root_.get(), name, path_ + "/" + name));
  return os::open_directory(root_.get(), name, path_ + "/" + name);
}

Result<DirectoryObjects::Staged> DirectoryObjects::stage() const {
  Staged staged;
  LAMINA_ASSIGN_OR_RETURN(staged.incoming, open_incoming());
  LAMINA_ASSIGN_OR_RETURN(staged.name, random_hex(16));
  LAMINA_ASSIGN_OR_RETURN(
      staged.file, os::open_at(staged.incoming.get(), staged.name, O_WRONLY | O_CREAT | O_EXCL,
                               path_ + "/" + staged.name));
  return staged;
}

Answer DirectoryObjects::put(const Request& request) const {
  if (request.md5) {
    const auto digest = md5_of(request.body);
    if (!digest) return failed(request, digest.error());
    if (*digest != *request.md5) {
      return failed_answer(
          Outcome::kCorrupt,
          fmt::format("put '{}': the bytes are not those of the given MD5", name_of(request.key)));
    }
  }
  const auto staged = stage();
  if (!staged) return failed(request, staged.error());
  const Status written = os::write_at(staged->file.get(), request.body, 0, name_of(request.key));
  Answer answer = written ? publish(*staged, request) : failed(request, written.error());
  discard(*staged);
  return answer;
}

namespace {

enum class Linked : std::uint8_t { kDone, kExists, kDirectoryIsGone };

/// Gives the staged file its name in `directory`.
Result<Linked> link_if_absent(int incoming, const std::string& from, int file, int directory,
                              const std::string& to, const std::string& name) {
  if (::linkat(incoming, from.c_str(), directory, to.c_str(), 0) == 0) return Linked::kDone;
  const int error = errno;
  // On NFS an answer may be lost and the call be repeated: then it says that the name exists.
  const auto facts = os::facts_of(file, name);
  if (facts && facts->link_count > 1) return Linked::kDone;
  if (error == ENOENT) return Linked::kDirectoryIsGone;
  if (error != EEXIST) return system_failure("link", name, error);
  const auto other = os::facts_of_name(directory, to, name);
  if (other && other->is_directory) {
    return fail(ErrorKind::kUsage, "'{}' is a directory of other objects", name);
  }
  return Linked::kExists;
}

Result<Linked> rename_over_any(int incoming, const std::string& from, int directory,
                               const std::string& to, const std::string& name) {
  if (::renameat(incoming, from.c_str(), directory, to.c_str()) == 0) return Linked::kDone;
  if (errno == EISDIR || errno == ENOTEMPTY || errno == EEXIST) {
    return fail(ErrorKind::kUsage, "'{}' is a directory of other objects", name);
  }
  if (errno == ENOENT) return Linked::kDirectoryIsGone;
  return system_failure("rename to", name, errno);
}

}  // namespace

Answer DirectoryObjects::publish(const Staged& staged, const Request& request) const {
  const std::string name = name_of(request.key);
  const std::string file = file_name_of(request.key);
  const Status synced = os::sync(staged.file.get(), name);
  if (!synced) return failed(request, synced.error());
  for (int attempt = 0; attempt < kPublishAttempts; ++attempt) {
    const auto path = open_path(root_.get(), request.key, true, name);
    if (!path && path.error().kind == ErrorKind::kNotFound) continue;
    if (!path) return failed(request, path.error());
    const auto linked =
        request.condition == Condition::kIfAbsent
            ? link_if_absent(staged.incoming.get(), staged.name, staged.file.get(), path->parent(),
                             file, name)
            : rename_over_any(staged.incoming.get(), staged.name, path->parent(), file, name);
    if (!linked) return failed(request, linked.error());
    if (*linked == Linked::kDirectoryIsGone) continue;
    if (*linked == Linked::kExists) {
      return failed_answer(Outcome::kExists, fmt::format("put '{}': it exists", name));
    }
    const Status durable = sync_path(*path, name);
    if (!durable) return failed_answer(Outcome::kUnknown, durable.error());
    Answer answer = done();
    const auto facts = os::facts_of(staged.file.get(), name);
    if (facts) answer.server_time = modified_of(*facts);
    return answer;
  }
  return failed_answer(Outcome::kUnavailable,
                       fmt::format("put '{}': other processes remove its directories", name));
}

Answer DirectoryObjects::begin_upload(const Request& request) {
  auto staged = stage();
  if (!staged) return failed(request, staged.error());
  Answer answer = done();
  answer.upload_id = staged->name;
  auto upload = std::make_shared<Upload>();
  upload->staged = std::move(*staged);
  upload->key = request.key;
  const std::scoped_lock lock(mutex_);
  uploads_.emplace(answer.upload_id, std::move(upload));
  return answer;
}

std::shared_ptr<DirectoryObjects::Upload> DirectoryObjects::find_upload(const Request& request) {
  const std::scoped_lock lock(mutex_);
  const auto found = uploads_.find(request.upload_id);
  if (found == uploads_.end() || found->second->key != request.key) return nullptr;
  return found->second;
}

Answer DirectoryObjects::no_upload(const Request& request) const {
  // A completion may have been carried out before.
  const bool is_completion = request.operation == Operation::kCompleteUpload;
  return failed_answer(is_completion ? Outcome::kUnknown : Outcome::kRefused,
                       fmt::format("{} '{}': the upload does not exist any more",
                                   word_of(request.operation), name_of(request.key)));
}

Answer DirectoryObjects::upload_part(const Request& request) {
  const std::shared_ptr<Upload> upload = find_upload(request);
  if (!upload) return no_upload(request);
  const auto digest = md5_of(request.body);
  if (!digest) return failed(request, digest.error());
  if (request.md5 && *digest != *request.md5) {
    return failed_answer(
        Outcome::kCorrupt,
        fmt::format("upload part {} of '{}': the bytes are not those of the given MD5",
                    request.part_number, name_of(request.key)));
  }
  const std::uint64_t offset = (request.part_number - 1) * kPartBytes;
  const Status written =
      os::write_at(upload->staged.file.get(), request.body, offset, name_of(request.key));
  if (!written) return failed(request, written.error());
  Answer answer = done();
  answer.tag = hex_of(*digest);
  const std::scoped_lock lock(mutex_);
  upload->part_bytes.insert_or_assign(request.part_number, request.body.size());
  return answer;
}

namespace {

/// kUsage unless `parts` are 1, 2, … up to the last one uploaded, and all but the last are
/// kPartBytes long.
Status check_parts(const std::vector<UploadedPart>& parts,
                   const std::map<unsigned, std::uint64_t>& part_bytes) {
  bool is_whole = parts.size() == part_bytes.size();
  for (std::size_t i = 0; is_whole && i < parts.size(); ++i) {
    const auto found = part_bytes.find(static_cast<unsigned>(i) + 1);
    is_whole = parts.at(i).number == i + 1 && found != part_bytes.end() &&
               (i + 1 == parts.size() ? found->second <= kPartBytes : found->second == kPartBytes);
  }
  if (is_whole) return {};
  return fail(ErrorKind::kUsage, "the parts are not 1 to {} of {} bytes each", part_bytes.size(),
              kPartBytes);
}

}  // namespace

Answer DirectoryObjects::complete_upload(const Request& request) {
  const std::shared_ptr<Upload> upload = find_upload(request);
  if (!upload) return no_upload(request);
  {
    const std::scoped_lock lock(mutex_);
    const Status checked = check_parts(request.parts, upload->part_bytes);
    if (!checked) return failed(request, checked.error());
    uploads_.erase(request.upload_id);
  }
  Answer answer = publish(upload->staged, request);
  discard(upload->staged);
  return answer;
}

Answer DirectoryObjects::abort_upload(const Request& request) {
  const std::shared_ptr<Upload> upload = find_upload(request);
  if (!upload) return done();
  discard(upload->staged);
  const std::scoped_lock lock(mutex_);
  uploads_.erase(request.upload_id);
  return done();
}

}  // namespace lamina::object_store
