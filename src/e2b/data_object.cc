#include "e2b/data_object.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/error.h"
#include "engine/transfer.h"

namespace lamina::e2b {
namespace {

/// How much of an uncompressed object is read at a time.
constexpr std::uint64_t kReadBytes = std::uint64_t{256} << 10;
/// What a compressed frame may be longer than its data.
constexpr std::uint32_t kMaxFrameOverhead = std::uint32_t{1} << 20;

struct Found {
  BuildEntry entry;
  bool is_own = false;  ///< the entry is of the build's own header: it must cover the object
};

/// What an entry says that nothing is known about: the object is not compressed.
bool says_nothing(const BuildEntry& entry) { return entry == BuildEntry{}; }

/// The entry that describes the object of `build`.
Result<Found> find_entry(const BuildStorage& storage, const Header& header, const Uuid& build) {
  const auto listed = header.entries.find(build);
  const bool is_own = build == header.build_id;
  const bool is_listed = listed != header.entries.end();
  const bool is_version_3 = header.version <= 3;
  if (is_own && !is_listed) return Found{{}, true};
  if (is_listed && !says_nothing(listed->second)) return Found{listed->second, is_own};
  if ((is_listed || is_version_3) && storage.has_object(build, kMemoryName)) return Found{};
  if (is_own) return Found{{}, true};
  LAMINA_ASSIGN_OR_RETURN(const std::optional<Header> own, storage.read_header(build));
  if (!own) return Found{};
  const auto entry = own->entries.find(build);
  if (entry == own->entries.end()) return Found{{}, true};
  return Found{entry->second, true};
}

bool is_zero_digest(const std::array<std::uint8_t, 32>& digest) {
  return std::all_of(digest.begin(), digest.end(), [](std::uint8_t byte) { return byte == 0; });
}

}  // namespace

Result<DataObject> DataObject::open(const BuildStorage& storage, const Header& header,
                                    const Uuid& build) {
  LAMINA_ASSIGN_OR_RETURN(Found found, find_entry(storage, header, build));
  DataObject object;
  object.entry_ = std::move(found.entry);
  const std::string name = data_object_name(object.entry_.compression);
  object.path_ = storage.path_of(build, name);
  LAMINA_ASSIGN_OR_RETURN(auto opened, storage.open_object(build, name));
  if (!opened) {
    return fail(ErrorKind::kNotFound, "data object '{}', which the memory needs, does not exist",
                object.path_);
  }
  object.file_ = std::move(*opened);
  const Status checked = object.entry_.compression == Compression::kNone
                             ? object.check_size()
                             : object.check_frames(found.is_own);
  if (!checked) {
    return std::unexpected(
        with_context(fmt::format("data object '{}'", object.path_), checked.error()));
  }
  return object;
}

Status DataObject::check_size() {
  const std::uint64_t size = file_.facts.size_bytes;
  if (entry_.data_bytes != 0 && entry_.data_bytes != size) {
    return fail(ErrorKind::kCorrupt, "it has {} bytes, and its header says {}", size,
                entry_.data_bytes);
  }
  data_bytes_ = size;
  has_digest_ = !is_zero_digest(entry_.sha256);
  return {};
}

Status DataObject::check_frames(bool is_own) {
  std::uint64_t data_end = 0;
  std::uint64_t object_end = 0;
  bool has_all = true;
  for (const Frame& frame : entry_.frames) {
    if (frame.data_bytes > kMaxFrameDataBytes ||
        frame.object_bytes > kMaxFrameDataBytes + kMaxFrameOverhead) {
      return fail(ErrorKind::kCorrupt, "its frame at {:#x} has {} bytes of {}; at most {} are read",
                  frame.object_offset, frame.object_bytes, frame.data_bytes, kMaxFrameDataBytes);
    }
    if (frame.object_end() > file_.facts.size_bytes) {
      return fail(ErrorKind::kCorrupt, "its frame at {:#x} ends at {:#x}, and it has {:#x} bytes",
                  frame.object_offset, frame.object_end(), file_.facts.size_bytes);
    }
    if (frame.data_offset != data_end || frame.object_offset != object_end) has_all = false;
    if (is_own && !has_all) {
      return fail(ErrorKind::kCorrupt,
                  "there is a gap before its frame at {:#x} (of the data {:#x})",
                  frame.object_offset, frame.data_offset);
    }
    data_end = frame.data_end();
    object_end = frame.object_end();
  }
  if (has_all && entry_.data_bytes != 0 && data_end != entry_.data_bytes) has_all = false;
  if (is_own && !has_all) {
    return fail(ErrorKind::kCorrupt, "its frames have {} bytes, and its header says {}", data_end,
                entry_.data_bytes);
  }
  if (has_all && object_end != file_.facts.size_bytes && entry_.data_bytes != 0) {
    return fail(ErrorKind::kCorrupt, "its frames end at {:#x}, and it has {:#x} bytes", object_end,
                file_.facts.size_bytes);
  }
  data_bytes_ = data_end;
  has_digest_ = has_all && entry_.data_bytes != 0 && !is_zero_digest(entry_.sha256);
  return {};
}

Status DataObject::read(const ReadOptions& options) {
  const bool all = options.check_digest && has_digest_;
  if (all) digest_.emplace();
  LAMINA_RETURN_IF_ERROR(entry_.compression == Compression::kNone ? read_raw(options, all)
                                                                  : read_frames(options, all));
  if (all && digest_->finish() != entry_.sha256) {
    return fail(ErrorKind::kCorrupt,
                "data object '{}': its bytes do not have the SHA-256 that its header says", path_);
  }
  return {};
}

Status DataObject::pass_on(const ReadOptions& options, std::uint64_t offset,
                           std::span<const std::byte> bytes, bool is_needed) {
  if (digest_) digest_->add(bytes);
  return is_needed ? options.take(offset, bytes) : engine::advance(options.progress, 0);
}

Status DataObject::read_raw(const ReadOptions& options, bool all) {
  plain_.resize(std::min(kReadBytes, data_bytes_));
  for (std::uint64_t offset = 0; offset < data_bytes_; offset += plain_.size()) {
    const auto buffer =
        std::span(plain_).first(std::min<std::uint64_t>(plain_.size(), data_bytes_ - offset));
    const bool is_needed = options.is_needed(offset, offset + buffer.size());
    if (!all && !is_needed) continue;
    LAMINA_RETURN_IF_ERROR(os::read_exactly_at(file_.fd.get(), buffer, offset, path_));
    read_bytes_ += buffer.size();
    LAMINA_RETURN_IF_ERROR(pass_on(options, offset, buffer, is_needed));
  }
  return {};
}

Status DataObject::read_frames(const ReadOptions& options, bool all) {
  FrameDecoder decoder;
  for (const Frame& frame : entry_.frames) {
    const bool is_needed = options.is_needed(frame.data_offset, frame.data_end());
    if (!all && !is_needed) continue;
    packed_.resize(std::max<std::size_t>(packed_.size(), frame.object_bytes));
    plain_.resize(std::max<std::size_t>(plain_.size(), frame.data_bytes));
    const auto packed = std::span(packed_).first(frame.object_bytes);
    const auto plain = std::span(plain_).first(frame.data_bytes);
    LAMINA_RETURN_IF_ERROR(os::read_exactly_at(file_.fd.get(), packed, frame.object_offset, path_));
    read_bytes_ += packed.size();
    if (Status decoded = decoder.decode(entry_.compression, packed, plain); !decoded) {
      return std::unexpected(
          with_context(fmt::format("data object '{}', frame at {:#x}", path_, frame.object_offset),
                       std::move(decoded.error())));
    }
    LAMINA_RETURN_IF_ERROR(pass_on(options, frame.data_offset, plain, is_needed));
  }
  return {};
}

}  // namespace lamina::e2b
