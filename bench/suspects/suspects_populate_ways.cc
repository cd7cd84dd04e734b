#include <sys/mman.h>

#include <cerrno>

#include "base/block.h"
#include "base/error.h"
#include "os/userfaultfd.h"
#include "suspects_populate.h"
#include "suspects_read_ahead.h"

namespace lamina::bench {
namespace {

Status copy_run(const BareGuest& guest, const format::BlockRun& run,
                std::span<const std::byte> data) {
  const auto copied =
      os::uffd_copy(guest.userfaultfd(), guest.address() + run.guest_block * kBlockBytes, data);
  if (copied.outcome == os::FillOutcome::kDone) return {};
  return system_failure("copy to", "guest", copied.error_number);
}

Status copy_portion(const BareGuest& guest, const BarePortion& portion,
                    std::span<const std::byte> buffer) {
  for (const format::BlockRun& run : portion) {
    const std::uint64_t bytes = run.block_count * kBlockBytes;
    LAMINA_RETURN_IF_ERROR(copy_run(guest, run, buffer.first(bytes)));
    buffer = buffer.subspan(bytes);
  }
  return {};
}

/// A mapping of the layer, while this lives.
class LayerMapping {
 public:
  explicit LayerMapping(const BareLayer& layer)
      : bytes_(layer.bytes().size()),
        memory_(::mmap(nullptr, bytes_, PROT_READ, MAP_SHARED, layer.fd(), 0)) {}
  LayerMapping(const LayerMapping&) = delete;
  LayerMapping& operator=(const LayerMapping&) = delete;
  LayerMapping(LayerMapping&&) = delete;
  LayerMapping& operator=(LayerMapping&&) = delete;
  ~LayerMapping() {
    if (memory_ != MAP_FAILED) ::munmap(memory_, bytes_);
  }
  [[nodiscard]] std::span<const std::byte> bytes() const {
    if (memory_ == MAP_FAILED) return {};
    return {static_cast<const std::byte*>(memory_), bytes_};
  }

 private:
  std::size_t bytes_;
  void* memory_;
};

void advise(std::span<const std::byte> piece, int advice) {
  static_cast<void>(::madvise(const_cast<std::byte*>(piece.data()), piece.size(), advice));
}

Status copy_mapped(const BareGuest& guest, const BareLayer& layer, const PopulateWay& way,
                   std::span<const BarePortion> portions, std::span<const std::byte> mapping) {
  Announcer announcer(layer, portions, way.announcing);
  for (std::size_t i = 0; i < portions.size(); ++i) {
    announcer.reach(i);
    for (const format::BlockRun& run : portions[i]) {
      const auto piece =
          mapping.subspan(run.guest_block * kBlockBytes, run.block_count * kBlockBytes);
      if (way.source == Source::kPopulateRead) advise(piece, MADV_POPULATE_READ);
      if (way.source != Source::kUnchecked && !layer.matches(run.guest_block, piece)) {
        return fail(ErrorKind::kCorrupt, "the mapping has other bytes than were written");
      }
      LAMINA_RETURN_IF_ERROR(copy_run(guest, run, piece));
    }
  }
  return {};
}

}  // namespace

PopulateBuffers::PopulateBuffers()
    : buffers(kCount, std::vector<std::byte>(kBytes, std::byte{1})) {}

Status populate_guest(const BareGuest& guest, const BareLayer& layer, const PopulateWay& way,
                      std::span<const BarePortion> portions, PopulateBuffers& buffers,
                      std::span<const std::byte> kept, int helper_cpu) {
  switch (way.source) {
    case Source::kHelper:
    case Source::kHelperAlone: {
      const AnnouncingThread announcing(layer, portions, way.announcing);
      Helper helper(layer, portions, buffers, way, helper_cpu);
      for (std::size_t i = 0; i < portions.size(); ++i) {
        const std::span<const std::byte> data = helper.take(i);
        if (data.empty()) return fail(ErrorKind::kFailed, "a portion could not be read");
        LAMINA_RETURN_IF_ERROR(copy_portion(guest, portions[i], data));
        helper.give_back(i);
      }
      return {};
    }
    case Source::kRead: {
      Announcer announcer(layer, portions, way.announcing);
      for (std::size_t i = 0; i < portions.size(); ++i) {
        announcer.reach(i);
        LAMINA_RETURN_IF_ERROR(read_portion(layer, portions[i], buffers.buffers.front()));
        LAMINA_RETURN_IF_ERROR(copy_portion(guest, portions[i], buffers.buffers.front()));
      }
      return {};
    }
    case Source::kKeptMapping:
    case Source::kUnchecked:
      return copy_mapped(guest, layer, way, portions, kept);
    default: {
      const LayerMapping mapping(layer);
      if (mapping.bytes().empty()) return system_failure("mmap", layer.path(), errno);
      if (way.source == Source::kHugeMapping) advise(mapping.bytes(), MADV_HUGEPAGE);
      return copy_mapped(guest, layer, way, portions, mapping.bytes());
    }
  }
}

}  // namespace lamina::bench
