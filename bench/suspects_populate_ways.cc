#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <thread>

#include "base/block.h"
#include "base/error.h"
#include "suspects_populate.h"
#include "sys/clock.h"
#include "sys/file.h"
#include "sys/userfaultfd.h"
#include "touching_guest.h"

namespace lamina::bench {
namespace {

constexpr std::uint32_t kPortionBlocks = 512;
constexpr std::uint32_t kWindowBlocks = 2048;

Status copy_run(const BareGuest& guest, const format::BlockRun& run,
                std::span<const std::byte> data) {
  const auto copied =
      sys::uffd_copy(guest.userfaultfd(), guest.address() + run.guest_block * kBlockBytes, data);
  if (copied.outcome == sys::FillOutcome::kDone) return {};
  return system_failure("copy to", "guest", copied.error_number);
}

Status read_portion(const BareLayer& layer, const BarePortion& portion,
                    std::span<std::byte> buffer) {
  for (const format::BlockRun& run : portion) {
    const std::uint64_t bytes = run.block_count * kBlockBytes;
    LAMINA_RETURN_IF_ERROR(layer.read(run.guest_block, buffer.first(bytes)));
    buffer = buffer.subspan(bytes);
  }
  return {};
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

/// Announces what comes, a window ahead of what is copied.
class Announcer {
 public:
  Announcer(const BareLayer& layer, std::span<const BarePortion> portions, Announcing announcing)
      : layer_(layer), portions_(portions), announcing_(announcing) {}

  /// Before the portion `number` is read.
  void reach(std::size_t number) {
    if (announcing_ == Announcing::kNone) return;
    for (; next_ < portions_.size() && next_ <= number + kWindowBlocks / kPortionBlocks; ++next_) {
      for (const format::BlockRun& run : portions_[next_]) {
        sys::read_ahead(layer_.fd(), run.guest_block * kBlockBytes, run.block_count * kBlockBytes);
      }
    }
  }

 private:
  const BareLayer& layer_;
  std::span<const BarePortion> portions_;
  const Announcing announcing_;
  std::size_t next_ = 0;
};

/// A thread that reads portions into buffers, in turn; ends with this object. Whoever copies reads
/// too while it has nothing to copy, as long as reads are quick, as ours does.
class Helper {
 public:
  Helper(const BareLayer& layer, std::span<const BarePortion> portions, PopulateBuffers& buffers,
         Announcing announcing, int cpu)
      : layer_(layer), portions_(portions), buffers_(buffers), thread_([this, announcing, cpu] {
          const Pinned pinned(cpu);
          Announcer announcer(layer_, portions_, announcing);
          for (std::size_t i = 0; i < portions_.size(); ++i) {
            std::atomic<std::uint64_t>& state = state_of(i);
            for (std::uint64_t now = state; now < posted(i) && !stop_; now = state) state.wait(now);
            if (stop_) return;
            announcer.reach(i);
            read_if_posted(i);
          }
        }) {}
  Helper(const Helper&) = delete;
  Helper& operator=(const Helper&) = delete;
  Helper(Helper&&) = delete;
  Helper& operator=(Helper&&) = delete;
  ~Helper() {
    stop_ = true;
    for (std::atomic<std::uint64_t>& state : states_) {
      state += kSteps;
      state.notify_all();
    }
    thread_.join();
  }

  /// Waits for a portion; nothing when it could not be read.
  std::span<const std::byte> take(std::size_t number) {
    std::atomic<std::uint64_t>& state = state_of(number);
    while (true) {
      const std::uint64_t now = state;
      if (now == posted(number) + kFull) return buffer_of(number);
      if (now == posted(number) + kFailed) return {};
      if (read_if_posted(number)) continue;
      if (read_ns_ > kQuickNs || !read_one_behind(number)) state.wait(now);
    }
  }
  void give_back(std::size_t number) {
    std::atomic<std::uint64_t>& state = state_of(number);
    state = posted(number) + kSteps;
    state.notify_all();
  }

 private:
  // A buffer's state grows: posted for its first portion, being read, full or failed, posted for
  // the next.
  static constexpr std::uint64_t kSteps = 4;
  static constexpr std::uint64_t kReading = 1;
  static constexpr std::uint64_t kFull = 2;
  static constexpr std::uint64_t kFailed = 3;
  static constexpr std::uint64_t kQuickNs = 2'000'000;

  static std::uint64_t posted(std::size_t number) {
    return number / PopulateBuffers::kCount * kSteps;
  }
  std::atomic<std::uint64_t>& state_of(std::size_t number) {
    return states_[number % PopulateBuffers::kCount];
  }
  std::span<std::byte> buffer_of(std::size_t number) {
    return buffers_.buffers[number % PopulateBuffers::kCount];
  }

  bool read_if_posted(std::size_t number) {
    std::uint64_t expected = posted(number);
    if (!state_of(number).compare_exchange_strong(expected, expected + kReading)) return false;
    const std::uint64_t start = sys::monotonic_ns();
    const Status read = read_portion(layer_, portions_[number], buffer_of(number));
    read_ns_ = sys::monotonic_ns() - start;
    state_of(number) = posted(number) + (read ? kFull : kFailed);
    state_of(number).notify_all();
    return true;
  }

  bool read_one_behind(std::size_t number) {
    const std::size_t end = std::min(number + PopulateBuffers::kCount, portions_.size());
    for (std::size_t i = number + 1; i < end; ++i) {
      if (read_if_posted(i)) return true;
    }
    return false;
  }

  const BareLayer& layer_;
  std::span<const BarePortion> portions_;
  PopulateBuffers& buffers_;
  std::array<std::atomic<std::uint64_t>, PopulateBuffers::kCount> states_{};
  std::atomic<std::uint64_t> read_ns_ = 0;
  std::atomic<bool> stop_ = false;
  std::thread thread_;  // the last: it uses the others
};

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
    : buffers(kCount, std::vector<std::byte>(kPortionBlocks * kBlockBytes, std::byte{1})) {}

Status populate_guest(const BareGuest& guest, const BareLayer& layer, const PopulateWay& way,
                      std::span<const BarePortion> portions, PopulateBuffers& buffers,
                      std::span<const std::byte> kept, int helper_cpu) {
  switch (way.source) {
    case Source::kHelper: {
      Helper helper(layer, portions, buffers, way.announcing, helper_cpu);
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
