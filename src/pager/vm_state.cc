#include "pager/vm_state.h"

#include <fcntl.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <new>
#include <vector>

#include "base/block.h"
#include "base/error.h"
#include "os/file.h"

namespace lamina::pager {
namespace {

constexpr std::uint64_t kMagic = 0x3153'4d56'414d'414c;  // "LAMAVMS1"
constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kSlots = VmState::kSlots;
constexpr std::size_t kSlotsOffset = kPageBytes;
constexpr std::size_t kPathOffset = 2 * kPageBytes;
constexpr std::size_t kBitsOffset = 3 * kPageBytes;
constexpr std::size_t kRecordedBytes = std::size_t{kMaxRecordedBlocks} * sizeof(std::uint32_t);

/// The first page. Only files written by lamina are mapped; magic and sizes reject those of other
/// versions.
struct FixedFields {
  std::uint64_t magic = 0;
  std::int32_t pid = -1;
  std::int32_t userfaultfd = -1;
  std::uint64_t start_time = 0;
  std::uint64_t memory_bytes = 0;
  Uuid pause_id;
  std::uint64_t region_count = 0;
  std::uint64_t record_until_ns = 0;
  std::array<Region, kMaxRegions> regions;
  Counter populate_position;
  Counter recorded_count;
  Counter recording_stored;
  VmCounters counters;
  std::uint64_t record_faults_only = 0;
  // Fields are only added, and zero means what was before them: the rest of the page is zeros.
  NetworkWaits network_waits;
};
static_assert(sizeof(FixedFields) <= kPageBytes);
static_assert(offsetof(FixedFields, network_waits) == 2424,
              "VMs of an earlier version are taken over: the fields before stay where they are");
static_assert(2 * kSlots * sizeof(uffd_msg) <= kPageBytes);

std::size_t bits_bytes(std::uint64_t memory_bytes) {
  const std::uint64_t words = (blocks_for(memory_bytes) + 63) / 64;
  return (words * sizeof(std::uint64_t) + kPageBytes - 1) / kPageBytes * kPageBytes;
}

std::size_t file_bytes(std::uint64_t memory_bytes) {
  return kBitsOffset + bits_bytes(memory_bytes) + kRecordedBytes;
}

/// The ranges of the file that are ever written.
std::vector<ByteRange> used_ranges(const VmRecord& record, std::size_t file_bytes) {
  std::vector<ByteRange> ranges{{0, kBitsOffset}};
  constexpr std::uint64_t kBlocksPerPage = kPageBytes * 8;
  for (const Region& region : record.regions) {
    const std::uint64_t first = region.memory_offset / kBlockBytes / kBlocksPerPage;
    const std::uint64_t end_block = blocks_for(region.memory_offset + region.size_bytes);
    const std::uint64_t end = (end_block + kBlocksPerPage - 1) / kBlocksPerPage;
    ranges.push_back({kBitsOffset + first * kPageBytes, (end - first) * kPageBytes});
  }
  if (record.record_until_ns != 0) {
    const std::uint64_t entries = record.record_faults_only ? kMaxNotedFaults : kMaxRecordedBlocks;
    ranges.push_back({file_bytes - kRecordedBytes, entries * sizeof(std::uint32_t)});
  }
  return ranges;
}

/// One VM must not use up the file system that all share.
constexpr std::uint64_t kLeastShareBytes = std::uint64_t{1} << 20;
constexpr std::uint64_t kShares = 16;

Status allocate_ranges(int fd, const VmRecord& record, std::size_t file_bytes,
                       const std::string& object) {
  const std::vector<ByteRange> ranges = used_ranges(record, file_bytes);
  std::uint64_t needed = 0;
  for (const ByteRange& range : ranges) needed += range.length;
  LAMINA_ASSIGN_OR_RETURN(const std::uint64_t total, os::file_system_bytes(fd, object));
  const std::uint64_t share = std::max(total / kShares, kLeastShareBytes);
  if (total != 0 && needed > share) {
    return with_remedy(
        fail(ErrorKind::kNoSpace,
             "'{}' needs {} bytes for a VM of {} bytes of memory, but one VM may use at most {} "
             "bytes of its file system",
             object, needed, record.memory_bytes, share),
        "enlarge it, or choose another with `state_dir`");
  }
  for (const ByteRange& range : ranges) {
    LAMINA_RETURN_IF_ERROR(os::reserve(fd, range, object));
  }
  return {};
}

FixedFields& fields_of(const os::SharedMapping& mapping) {
  return *std::launder(reinterpret_cast<FixedFields*>(mapping.bytes().data()));
}

}  // namespace

Result<VmState> VmState::create(int directory, const std::string& name, const VmRecord& record,
                                const std::string& object) {
  if (record.regions.size() > kMaxRegions || record.snapshot.size() >= kPageBytes) {
    return fail(ErrorKind::kFailed, "'{}': too many regions ({}) or too long a path ({} bytes)",
                object, record.regions.size(), record.snapshot.size());
  }
  LAMINA_ASSIGN_OR_RETURN(const os::Fd fd,
                          os::open_at(directory, name, O_RDWR | O_CREAT | O_EXCL, object));
  const std::size_t bytes = file_bytes(record.memory_bytes);
  LAMINA_RETURN_IF_ERROR(os::truncate(fd.get(), bytes, object));
  LAMINA_RETURN_IF_ERROR(allocate_ranges(fd.get(), record, bytes, object));
  LAMINA_ASSIGN_OR_RETURN(os::SharedMapping mapping,
                          os::SharedMapping::map(fd.get(), bytes, object));
  auto* fields = new (mapping.bytes().data()) FixedFields;
  fields->pid = record.pid;
  fields->userfaultfd = record.userfaultfd;
  fields->start_time = record.start_time;
  fields->memory_bytes = record.memory_bytes;
  fields->pause_id = record.pause_id;
  fields->region_count = record.regions.size();
  fields->record_until_ns = record.record_until_ns;
  fields->record_faults_only = record.record_faults_only ? 1 : 0;
  std::copy(record.regions.begin(), record.regions.end(), fields->regions.begin());
  std::memcpy(&mapping.bytes()[kPathOffset], record.snapshot.data(), record.snapshot.size());
  // Written last: it marks the file as complete.
  std::atomic_thread_fence(std::memory_order_release);
  fields->magic = kMagic;
  return VmState(std::move(mapping), record);
}

Result<VmState> VmState::attach(int fd, const std::string& object) {
  LAMINA_ASSIGN_OR_RETURN(const os::FileFacts facts, os::facts_of(fd, object));
  const auto corrupt = [&](std::string_view what) {
    return fail(ErrorKind::kCorrupt, "'{}' is not the state of a VM: {}", object, what);
  };
  if (facts.size_bytes < kBitsOffset) return corrupt("it is too short");
  LAMINA_ASSIGN_OR_RETURN(os::SharedMapping mapping,
                          os::SharedMapping::map(fd, facts.size_bytes, object));
  const FixedFields& fields = fields_of(mapping);
  if (fields.magic != kMagic) return corrupt("it is incomplete, or of another version");
  if (fields.region_count > kMaxRegions || fields.memory_bytes == 0 ||
      blocks_for(fields.memory_bytes) > kMaxBlocks ||
      file_bytes(fields.memory_bytes) != facts.size_bytes) {
    return corrupt("its sizes contradict each other");
  }
  VmRecord record;
  record.pid = fields.pid;
  record.userfaultfd = fields.userfaultfd;
  record.start_time = fields.start_time;
  record.memory_bytes = fields.memory_bytes;
  record.pause_id = fields.pause_id;
  record.record_until_ns = fields.record_until_ns;
  record.record_faults_only = fields.record_faults_only != 0;
  record.regions.assign(fields.regions.begin(),
                        fields.regions.begin() + static_cast<std::ptrdiff_t>(fields.region_count));
  const auto* path = reinterpret_cast<const char*>(&mapping.bytes()[kPathOffset]);
  record.snapshot.assign(path, ::strnlen(path, kPageBytes));
  return VmState(std::move(mapping), std::move(record));
}

void VmState::lock_slots() const { mapping_.lock(kSlotsOffset, kPageBytes); }

VmCounters& VmState::counters() const { return fields_of(mapping_).counters; }

NetworkWaits& VmState::network_waits() const { return fields_of(mapping_).network_waits; }

std::span<uffd_msg> VmState::slots() const {
  return {reinterpret_cast<uffd_msg*>(&mapping_.bytes()[kSlotsOffset]), kSlots};
}

std::span<uffd_msg> VmState::reread_slots() const {
  return {reinterpret_cast<uffd_msg*>(&mapping_.bytes()[kSlotsOffset]) + kSlots, kSlots};
}

std::span<std::uint64_t> VmState::removed_bits() const {
  return {reinterpret_cast<std::uint64_t*>(&mapping_.bytes()[kBitsOffset]),
          (blocks_for(record_.memory_bytes) + 63) / 64};
}

Counter& VmState::populate_position() const { return fields_of(mapping_).populate_position; }

std::span<std::uint32_t> VmState::recorded_blocks() const {
  const std::size_t offset = kBitsOffset + bits_bytes(record_.memory_bytes);
  return {reinterpret_cast<std::uint32_t*>(&mapping_.bytes()[offset]), kMaxRecordedBlocks};
}

Counter& VmState::recorded_count() const { return fields_of(mapping_).recorded_count; }

Counter& VmState::recording_stored() const { return fields_of(mapping_).recording_stored; }

}  // namespace lamina::pager
