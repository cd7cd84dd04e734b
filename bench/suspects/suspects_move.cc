// UFFDIO_MOVE (Linux 6.8) hands pages over instead of copying them: what was read into fresh pages
// is moved to where it is missing.
//
// Both addresses are of the process that the userfaultfd is of. So a page server, which is another
// process, cannot move its buffers to its VMs: whoever moves must read in the VMM itself. These
// contenders are therefore one process that serves itself.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>

#include "base/block.h"
#include "base/error.h"
#include "fake_firecracker.h"
#include "os/kernel_definitions.h"
#include "os/userfaultfd.h"
#include "suspects_kernel.h"
#include "suspects_loop.h"

namespace lamina::bench {
namespace {

constexpr std::array<std::uint32_t, 2> kRuns = {16, 512};

enum class Way : std::uint8_t {
  kCopy,       ///< one buffer, used again and again; copied
  kCopyFresh,  ///< fresh pages for every run; copied, then given back
  kMove,       ///< fresh pages for every run; moved
};

/// Memory of this process, mapped while this lives.
class Pages {
 public:
  static Result<Pages> map(std::uint64_t bytes) {
    void* mapped = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) return system_failure("mmap", "pages", errno);
    return Pages({static_cast<std::byte*>(mapped), bytes});
  }
  Pages() = default;
  Pages(Pages&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  Pages& operator=(Pages&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  ~Pages() {
    if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
  }
  [[nodiscard]] std::span<std::byte> bytes() const { return bytes_; }

 private:
  explicit Pages(std::span<std::byte> bytes) : bytes_(bytes) {}
  std::span<std::byte> bytes_;
};

struct Running {
  os::Fd userfaultfd;
  Pages memory;
  Pages buffer;
};

Status prepare(Running& running, const BareLayer& layer, std::uint32_t run_blocks) {
  LAMINA_ASSIGN_OR_RETURN(running.memory, Pages::map(layer.bytes().size()));
  LAMINA_ASSIGN_OR_RETURN(running.buffer, Pages::map(run_blocks * kBlockBytes));
  running.userfaultfd = os::Fd(tests::open_userfaultfd(os::kUffdFeatureMove));
  tests::register_memory(running.userfaultfd.get(), running.memory.bytes().data(),
                         running.memory.bytes().size());
  return {};
}

int move_pages(int userfaultfd, std::uint64_t destination, std::span<const std::byte> source) {
  UffdioMove move{};
  move.destination = destination;
  move.source = reinterpret_cast<std::uint64_t>(source.data());
  move.length = source.size();
  return ::ioctl(userfaultfd, kUffdioMove, &move) == 0 ? 0 : errno;
}

Status populate(Running& running, const BareLayer& layer, std::uint32_t run_blocks, Way way) {
  const auto address = reinterpret_cast<std::uint64_t>(running.memory.bytes().data());
  for (std::uint32_t block = 0; block < layer.block_count(); block += run_blocks) {
    const std::uint32_t count = std::min(run_blocks, layer.block_count() - block);
    const auto data = running.buffer.bytes().first(count * kBlockBytes);
    LAMINA_RETURN_IF_ERROR(layer.read(block, data));
    const std::uint64_t destination = address + block * kBlockBytes;
    if (way == Way::kMove) {
      const int error = move_pages(running.userfaultfd.get(), destination, data);
      if (error != 0) return system_failure("move", "pages", error);
      continue;
    }
    const auto copied = os::uffd_copy(running.userfaultfd.get(), destination, data);
    if (copied.outcome != os::FillOutcome::kDone) {
      return system_failure("copy", "pages", copied.error_number);
    }
    if (way == Way::kCopyFresh) ::madvise(data.data(), data.size(), MADV_DONTNEED);
  }
  return {};
}

Status check(const Running& running, const BareLayer& layer) {
  const auto memory = running.memory.bytes();
  LAMINA_RETURN_IF_ERROR(os::uffd_unregister(
      running.userfaultfd.get(), reinterpret_cast<std::uint64_t>(memory.data()), memory.size()));
  if (std::ranges::equal(memory, layer.bytes())) return {};
  return fail(ErrorKind::kCorrupt, "the memory is not the layer's");
}

Contender populating_by(const std::string& name, const BareLayer& layer, std::uint32_t run_blocks,
                        Way way) {
  const auto running = std::make_shared<Running>();
  return {name, [=, &layer] { return prepare(*running, layer, run_blocks); },
          [=, &layer] { return populate(*running, layer, run_blocks, way); },
          [=, &layer] { return check(*running, layer); },
          [=]() -> Status {
            *running = {};
            return {};
          }};
}

/// What the kernel says when another process' memory is to get pages of this one.
Result<std::string> move_to_other_process(const BareLayer& layer) {
  BareTask task;
  task.memory_bytes = kBlockBytes;
  task.features = os::kUffdFeatureMove;
  LAMINA_ASSIGN_OR_RETURN(const auto guest, BareGuest::start(task));
  LAMINA_ASSIGN_OR_RETURN(const Pages page, Pages::map(kBlockBytes));
  LAMINA_RETURN_IF_ERROR(layer.read(0, page.bytes()));
  const int error = move_pages(guest->userfaultfd(), guest->address(), page.bytes());
  if (error == 0) return std::string("moved");
  return system_error("move", "to another process", error).message;
}

}  // namespace

Status run_move_suspects(Bench& bench, const BareLayer& layer) {
  for (const std::uint32_t run_blocks : kRuns) {
    const std::string name = fmt::format("suspect-move/{}-blocks", run_blocks);
    if (!bench.wants(name)) continue;
    if ((userfaultfd_features() & os::kUffdFeatureMove) == 0) {
      bench.skip(name, "this kernel has no UFFDIO_MOVE");
      continue;
    }
    Comparison comparison = suspect_comparison(
        name,
        fmt::format("{} MiB by runs of {} blocks, in one process: read into one buffer and copied "
                    "(ours); read into fresh pages and copied, or moved",
                    layer.bytes().size() >> 20, run_blocks),
        layer.bytes().size());
    comparison.bytes = layer.bytes().size();
    comparison.contenders = {populating_by("ours", layer, run_blocks, Way::kCopy),
                             populating_by("copy fresh", layer, run_blocks, Way::kCopyFresh),
                             populating_by("move", layer, run_blocks, Way::kMove)};
    LAMINA_RETURN_IF_ERROR(bench.run(comparison));
    note_ratios(bench);
    LAMINA_ASSIGN_OR_RETURN(const std::string other, move_to_other_process(layer));
    bench.note("to another process' memory, from this one's: " + other);
  }
  return {};
}

}  // namespace lamina::bench
