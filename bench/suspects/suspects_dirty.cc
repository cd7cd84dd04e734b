// Dirty tracking by the page server: it fills memory write-protected (UFFDIO_COPY_MODE_WP), and
// what is not protected any more at a pause has been written since. Nothing of lamina does so now:
// a pause takes the set that Firecracker reports, and the guest's writes cost what KVM makes of
// them, which is not measured here.
//
// What it needs: the VMM's own userfaultfd with UFFD_FEATURE_WP_ASYNC (Linux 6.7), whose features
// are settled when it is made, which Firecracker does (with REMOVE events alone); PAGEMAP_SCAN of
// another process needs the rights of ptrace. Synchronous tracking can be had with Firecracker's
// descriptor, as the notes tell, because whoever holds it may register memory anew.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <memory>

#include "base/error.h"
#include "os/kernel_definitions.h"
#include "suspects_dirty_set.h"
#include "suspects_kernel.h"
#include "suspects_loop.h"

namespace lamina::bench {
namespace {

constexpr std::uint64_t kSeed = 29;
constexpr std::uint32_t kRunBlocks = 8;
constexpr std::array<std::uint32_t, 2> kPerCents = {3, 50};

/// So many per cent of the blocks, in runs of 8 at random places.
std::vector<std::uint32_t> draw_writes(std::uint32_t blocks, std::uint32_t per_cent) {
  std::vector<std::uint32_t> writes;
  for (const std::uint32_t run : blocks_shuffled(blocks / kRunBlocks, kSeed)) {
    if (writes.size() * 100 >= std::uint64_t{blocks} * per_cent) break;
    for (std::uint32_t i = 0; i < kRunBlocks; ++i) writes.push_back(run * kRunBlocks + i);
  }
  return writes;
}

Status expect(const Result<DirtySet>& found, const std::vector<std::uint32_t>& writes) {
  if (!found) return std::unexpected(found.error());
  DirtySet expected = writes;
  std::ranges::sort(expected);
  if (*found == expected) return {};
  return fail(ErrorKind::kCorrupt, "{} blocks were written, {} found", expected.size(),
              found->size());
}

/// What each way finds must be what was written.
Status check_set(const TrackedGuest& guest, Tracking tracking,
                 const std::vector<std::uint32_t>& writes) {
  LAMINA_RETURN_IF_ERROR(expect(guest.compared(), writes));
  if (tracking == Tracking::kSync) return expect(guest.noted(), writes);
  if (tracking != Tracking::kAsync) return {};
  LAMINA_RETURN_IF_ERROR(expect(guest.read_from_pagemap(), writes));
  LAMINA_RETURN_IF_ERROR(expect(guest.scanned(true), writes));
  // Taken and protected anew: nothing is left.
  return expect(guest.scanned(false), {});
}

struct Setting {
  const BareLayer& layer;
  const std::vector<std::uint32_t>& writes;
  Placement placement;
};

struct Running {
  std::unique_ptr<TrackedGuest> guest;
  std::unique_ptr<Pinned> pinned;
  Result<DirtySet> found;
};

Status prepare(Running& running, const Setting& setting, Tracking tracking) {
  LAMINA_ASSIGN_OR_RETURN(
      running.guest, TrackedGuest::start(setting.layer, setting.writes, tracking, Backing::kPrivate,
                                         setting.placement));
  running.pinned = std::make_unique<Pinned>(setting.placement.server);
  return {};
}

Contender writing(const std::string& name, const Setting& setting, Tracking tracking) {
  const auto running = std::make_shared<Running>();
  return {name, [=] { return prepare(*running, setting, tracking); },
          [=] { return running->guest->write(); },
          [=] { return check_set(*running->guest, tracking, setting.writes); },
          [=]() -> Status {
            *running = {};
            return {};
          }};
}

using Collect = std::function<Result<DirtySet>(const TrackedGuest&)>;

Contender collecting(const std::string& name, const Setting& setting, const Collect& collect) {
  const auto running = std::make_shared<Running>();
  return {name,
          [=]() -> Status {
            LAMINA_RETURN_IF_ERROR(prepare(*running, setting, Tracking::kAsync));
            return running->guest->write();
          },
          [=]() -> Status {
            running->found = collect(*running->guest);
            return {};
          },
          {},
          [=]() -> Status {
            LAMINA_RETURN_IF_ERROR(expect(running->found, setting.writes));
            *running = {};
            return {};
          }};
}

/// How much of a process' memory is in huge pages, in MiB.
std::uint64_t huge_mebibytes(pid_t pid) {
  std::ifstream smaps(fmt::format("/proc/{}/smaps_rollup", pid));
  std::string word;
  std::uint64_t kibibytes = 0;
  while (smaps >> word && word != "AnonHugePages:") {
  }
  smaps >> kibibytes;
  return kibibytes >> 10;
}

/// One line on whether the set is exact for another kind of memory or descriptor.
std::string exactness(const Setting& setting, Tracking tracking, Backing backing) {
  auto guest =
      TrackedGuest::start(setting.layer, setting.writes, tracking, backing, setting.placement);
  if (!guest) return guest.error().message;
  const std::uint64_t huge = huge_mebibytes((*guest)->pid());
  if (const Status written = (*guest)->write(); !written) return written.error().message;
  const Result<DirtySet> found =
      tracking == Tracking::kAsync ? (*guest)->scanned(false) : Result<DirtySet>((*guest)->noted());
  if (const Status exact = expect(found, setting.writes); !exact) return exact.error().message;
  return fmt::format("exact, {} blocks of 4 KiB (in huge pages: {} MiB before, {} after)",
                     found->size(), huge, huge_mebibytes((*guest)->pid()));
}

Status measure_writes(Bench& bench, const Setting& setting, std::uint32_t per_cent) {
  const std::string name =
      fmt::format("suspect-dirty-tracking/write-{}/{}", per_cent, setting.placement.name);
  if (!bench.wants(name)) return {};
  Comparison comparison = suspect_comparison(
      name,
      fmt::format("the guest writes {} of {} blocks in runs of {}: not tracked (ours), "
                  "write-protected and resolved by the kernel, by the server",
                  setting.writes.size(), setting.layer.block_count(), kRunBlocks),
      setting.layer.bytes().size());
  comparison.contenders = {writing("ours", setting, Tracking::kNone),
                           writing("asynchronous", setting, Tracking::kAsync),
                           writing("synchronous", setting, Tracking::kSync)};
  LAMINA_RETURN_IF_ERROR(bench.run(comparison));
  const Measurement& measured = bench.measurements().back();
  const double none = measured.median_ms("ours").value_or(0);
  std::vector<std::string> notes;
  for (const char* contender : {"asynchronous", "synchronous"}) {
    constexpr double kUsPerMs = 1e3;
    notes.push_back(fmt::format("{}: {:.2f} us more for each page", contender,
                                (measured.median_ms(contender).value_or(0) - none) * kUsPerMs /
                                    static_cast<double>(setting.writes.size())));
  }
  for (const std::string& note : notes) bench.note(note);
  return {};
}

Status measure_collecting(Bench& bench, const Setting& setting, std::uint32_t per_cent) {
  const std::string name = fmt::format("suspect-dirty-tracking/collect-{}", per_cent);
  if (!bench.wants(name)) return {};
  Comparison comparison = suspect_comparison(
      name,
      fmt::format("{} dirty blocks of {} found: PAGEMAP_SCAN that protects anew, that only looks; "
                  "the entries of pagemap; all memory compared with what it was",
                  setting.writes.size(), setting.layer.block_count()),
      setting.layer.bytes().size());
  comparison.contenders = {
      collecting("scan", setting, [](const TrackedGuest& guest) { return guest.scanned(true); }),
      collecting("scan only", setting,
                 [](const TrackedGuest& guest) { return guest.scanned(false); }),
      collecting("pagemap", setting,
                 [](const TrackedGuest& guest) { return guest.read_from_pagemap(); }),
      collecting("compare", setting, [](const TrackedGuest& guest) { return guest.compared(); })};
  LAMINA_RETURN_IF_ERROR(bench.run(comparison));
  bench.note("needs WP_ASYNC in the VMM's own userfaultfd, and the rights of ptrace");
  bench.note("private memory: exact in every round, zeros included");
  bench.note("shared memory: " + exactness(setting, Tracking::kAsync, Backing::kShared));
  bench.note("transparent huge pages: " + exactness(setting, Tracking::kAsync, Backing::kHuge));
  bench.note("a descriptor as Firecracker makes it, resolved by the server: " +
             exactness(setting, Tracking::kSyncLate, Backing::kPrivate));
  return {};
}

}  // namespace

Status run_dirty_suspects(Bench& bench, const BareLayer& layer) {
  if ((userfaultfd_features() & os::kUffdFeatureWpAsync) == 0) {
    bench.skip("suspect-dirty-tracking", "this kernel has no UFFD_FEATURE_WP_ASYNC");
    return {};
  }
  for (const std::uint32_t per_cent : kPerCents) {
    const auto writes = draw_writes(layer.block_count(), per_cent);
    for (const Placement& placement : placements()) {
      LAMINA_RETURN_IF_ERROR(measure_writes(bench, {layer, writes, placement}, per_cent));
    }
    LAMINA_RETURN_IF_ERROR(
        measure_collecting(bench, {layer, writes, placements().back()}, per_cent));
  }
  return {};
}

}  // namespace lamina::bench
