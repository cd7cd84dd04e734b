#include "e2b/data_object.h"

#include <algorithm>
#include <array>
#include <deque>
#include <utility>

#include "base/error.h"
#include "engine/transfer.h"

namespace lamina::e2b {
namespace {

/// How much of an uncompressed object is read at a time.
constexpr std::uint64_t kReadBytes = std::uint64_t{256} << 10;
/// How much is fetched ahead from an object store.
constexpr std::uint64_t kAheadBytes = std::uint64_t{32} << 20;
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
  if (is_listed || is_version_3) {
    LAMINA_ASSIGN_OR_RETURN(const bool is_plain, storage.has_object(build, kMemoryName));
    if (is_plain) return Found{};
  }
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
  LAMINA_ASSIGN_OR_RETURN(object.object_, storage.open_object(build, name));
  if (!object.object_) {
    return fail(ErrorKind::kNotFound, "data object '{}', which the memory needs, does not exist",
                object.path_);
  }
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
  const std::uint64_t size = object_->size_bytes();
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
    if (frame.object_end() > object_->size_bytes()) {
      return fail(ErrorKind::kCorrupt, "its frame at {:#x} ends at {:#x}, and it has {:#x} bytes",
                  frame.object_offset, frame.object_end(), object_->size_bytes());
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
  if (has_all && object_end != object_->size_bytes() && entry_.data_bytes != 0) {
    return fail(ErrorKind::kCorrupt, "its frames end at {:#x}, and it has {:#x} bytes", object_end,
                object_->size_bytes());
  }
  data_bytes_ = data_end;
  has_digest_ = has_all && entry_.data_bytes != 0 && !is_zero_digest(entry_.sha256);
  return {};
}

Status DataObject::read(const ReadOptions& options) {
  const bool all = options.check_digest && has_digest_;
  if (all) digest_.emplace();
  LAMINA_RETURN_IF_ERROR(read_parts(options, all));
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

std::uint64_t DataObject::part_count() const {
  if (entry_.compression != Compression::kNone) return entry_.frames.size();
  return data_bytes_ / kReadBytes + (data_bytes_ % kReadBytes != 0 ? 1 : 0);
}

DataObject::Part DataObject::part_at(std::uint64_t index) const {
  if (entry_.compression == Compression::kNone) {
    const std::uint64_t offset = index * kReadBytes;
    const std::uint64_t bytes = std::min(kReadBytes, data_bytes_ - offset);
    return {.offset = offset, .bytes = bytes, .data_offset = offset, .data_bytes = bytes};
  }
  const Frame& frame = entry_.frames[index];
  return {.offset = frame.object_offset,
          .bytes = frame.object_bytes,
          .data_offset = frame.data_offset,
          .data_bytes = frame.data_bytes};
}

Status DataObject::read_parts(const ReadOptions& options, bool all) {
  FrameDecoder decoder;
  std::deque<Part> ahead;
  std::uint64_t ahead_bytes = 0;
  const std::uint64_t count = part_count();
  std::uint64_t next = 0;
  while (true) {
    while (next < count && (ahead.empty() || ahead_bytes < kAheadBytes)) {
      Part part = part_at(next++);
      part.is_needed = options.is_needed(part.data_offset, part.data_offset + part.data_bytes);
      if (!all && !part.is_needed) continue;
      object_->announce(part.offset, part.bytes);
      ahead_bytes += part.bytes;
      ahead.push_back(part);
    }
    if (ahead.empty()) return {};
    const Part part = ahead.front();
    ahead.pop_front();
    ahead_bytes -= part.bytes;
    LAMINA_RETURN_IF_ERROR(read_part(part, options, decoder));
  }
}

Status DataObject::read_part(const Part& part, const ReadOptions& options, FrameDecoder& decoder) {
  plain_.resize(std::max<std::size_t>(plain_.size(), part.data_bytes));
  const auto plain = std::span(plain_).first(part.data_bytes);
  read_bytes_ += part.bytes;
  if (entry_.compression == Compression::kNone) {
    LAMINA_RETURN_IF_ERROR(object_->read(part.offset, plain));
    return pass_on(options, part.data_offset, plain, part.is_needed);
  }
  packed_.resize(std::max<std::size_t>(packed_.size(), part.bytes));
  const auto packed = std::span(packed_).first(part.bytes);
  LAMINA_RETURN_IF_ERROR(object_->read(part.offset, packed));
  if (Status decoded = decoder.decode(entry_.compression, packed, plain); !decoded) {
    return std::unexpected(
        with_context(fmt::format("data object '{}', frame at {:#x}", path_, part.offset),
                     std::move(decoded.error())));
  }
  return pass_on(options, part.data_offset, plain, part.is_needed);
}

}  // namespace lamina::e2b
