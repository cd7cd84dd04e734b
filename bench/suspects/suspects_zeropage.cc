// A memory of zeros, all of which the guest touches in order: how much one fault fills, beside
// taking the zeros out of the userfaultfd before.
//
// What unregistering loses: a range that is not registered sends no REMOVE and no faults, so the
// server does not hear of what the balloon takes there. That is right as long as the snapshot has
// zeros there, because zeros are what comes back; but it must be known for good, also by a
// successor, and each run of zeros becomes a mapping of its own (65,530 at most by default), since
// the kernel splits a mapping where its registration ends. What it gains beside the faults: where
// the VMM asks for huge pages, it can have them there.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

#include "base/block.h"
#include "base/error.h"
#include "fault_contenders.h"
#include "os/userfaultfd.h"
#include "suspects_loop.h"

namespace lamina::bench {
namespace {

constexpr std::uint64_t kMemoryBytes = std::uint64_t{256} << 20;
constexpr std::uint32_t kUnregistered = 0;
constexpr std::array<std::uint32_t, 4> kRuns = {512, 1, 16, kUnregistered};

struct Setting {
  const std::vector<std::uint32_t>* touches = nullptr;
  std::uint64_t memory_bytes = 0;
  Placement placement;
  Access access = Access::kRead;
  std::uint32_t run_blocks = 0;
};

struct Running {
  std::unique_ptr<BareGuest> guest;
  std::unique_ptr<Pinned> pinned;
  std::uint64_t faults = 0;
};

Status fill(const BareGuest& guest, std::uint64_t fault, std::uint32_t blocks) {
  const std::uint64_t address = fault / kBlockBytes * kBlockBytes;
  const std::uint64_t end = guest.address() + guest.memory_bytes();
  const std::uint64_t length = std::min(blocks * kBlockBytes, end - address);
  const os::FillResult result = os::uffd_zero(guest.userfaultfd(), address, length);
  switch (result.outcome) {
    case os::FillOutcome::kDone:
      return {};
    case os::FillOutcome::kPresent:
      return os::uffd_wake(guest.userfaultfd(), address, kBlockBytes);
    default:
      return system_failure("zero", "guest", result.error_number);
  }
}

Status serve(Running& running, const Setting& setting) {
  BareGuest& guest = *running.guest;
  if (setting.run_blocks == kUnregistered) {
    LAMINA_RETURN_IF_ERROR(
        os::uffd_unregister(guest.userfaultfd(), guest.address(), guest.memory_bytes()));
  }
  LAMINA_RETURN_IF_ERROR(guest.go());
  return serve_guest(guest, {}, [&](std::span<const uffd_msg> events) -> Status {
    for (const uffd_msg& event : events) {
      LAMINA_RETURN_IF_ERROR(fill(guest, event.arg.pagefault.address, setting.run_blocks));
      ++running.faults;
    }
    return {};
  });
}

/// Zeros but for what the guest has written.
Status check(const Running& running, const Setting& setting) {
  LAMINA_RETURN_IF_ERROR(os::uffd_unregister(running.guest->userfaultfd(), running.guest->address(),
                                             running.guest->memory_bytes()));
  std::vector<std::byte> theirs(kBlockBytes);
  std::vector<std::byte> expected(kBlockBytes);
  for (const std::uint32_t block : *setting.touches) {
    LAMINA_RETURN_IF_ERROR(
        read_process(running.guest->pid(), running.guest->address() + block * kBlockBytes, theirs));
    std::ranges::fill(expected, std::byte{0});
    if (setting.access == Access::kWrite) {
      std::memcpy(&expected[touched_offset(block)], &kWrittenWord, sizeof(kWrittenWord));
    }
    if (theirs != expected) return fail(ErrorKind::kCorrupt, "block {} is no zeros", block);
  }
  return {};
}

Contender zeroing(const std::string& name, const Setting& setting, FigureTable& figures) {
  const auto running = std::make_shared<Running>();
  return {name,
          [=]() -> Status {
            BareTask task;
            task.memory_bytes = setting.memory_bytes;
            task.touches = *setting.touches;
            task.access = setting.access;
            task.cpu = setting.placement.guest;
            LAMINA_ASSIGN_OR_RETURN(running->guest, BareGuest::start(task));
            running->pinned = std::make_unique<Pinned>(setting.placement.server);
            return {};
          },
          [=] { return serve(*running, setting); }, [=] { return check(*running, setting); },
          [=, &figures]() -> Status {
            if (running->guest->sum() != 0) return fail(ErrorKind::kCorrupt, "zeros are no zeros");
            figures.add("faults", name, static_cast<double>(running->faults));
            *running = {};
            return {};
          }};
}

std::string contender_name(std::uint32_t blocks) {
  if (blocks == kRuns.front()) return "ours";
  return blocks == kUnregistered ? "unregistered" : fmt::format("run {}", blocks);
}

}  // namespace

Status run_zeropage_suspects(Bench& bench, const BareLayer& /*layer*/) {
  Setting setting;
  setting.memory_bytes = kMemoryBytes;
  const auto touches = blocks_in_order(kMemoryBytes / kBlockBytes);
  setting.touches = &touches;
  setting.placement = placements().back();
  for (const Access access : {Access::kRead, Access::kWrite}) {
    setting.access = access;
    const std::string verb = access == Access::kRead ? "read" : "write";
    const std::string name = "suspect-zeropage/" + verb;
    if (!bench.wants(name)) continue;
    FigureTable figures;
    Comparison comparison = suspect_comparison(
        name,
        fmt::format("{} MiB of zeros, {} in order: UFFDIO_ZEROPAGE of 2 MiB a fault (ours), of one "
                    "page, of 16; unregistered before",
                    setting.memory_bytes >> 20, verb),
        setting.memory_bytes);
    for (const std::uint32_t blocks : kRuns) {
      setting.run_blocks = blocks;
      comparison.contenders.push_back(zeroing(contender_name(blocks), setting, figures));
    }
    LAMINA_RETURN_IF_ERROR(bench.run(comparison));
    note_ratios(bench);
    figures.note(bench, "faults");
  }
  return {};
}

}  // namespace lamina::bench
