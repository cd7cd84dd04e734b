// 1, 10 and 100 VMs at once on one snapshot: how long until each has touched a random tenth of its
// memory, and what a VM costs that is served and idle.
//
// Ours is the real program with its default number of threads; the floor is as many threads, each
// with the bare loop over its share of the guests. Nothing is pinned: guests and server share all
// CPUs.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <thread>

#include "bare_threads.h"
#include "base/block.h"
#include "base/error.h"
#include "fault_contenders.h"
#include "page_fault_benchmarks.h"
#include "page_server.h"
#include "snapshot_chain.h"

namespace lamina::bench {
namespace {

constexpr std::uint32_t kServeBlocks = 16384;  // 64 MiB
constexpr std::uint32_t kTouched = kServeBlocks / 10;
constexpr std::uint32_t kServeDiffs = 3;
constexpr std::uint64_t kServeSeed = 5;
constexpr std::array<std::size_t, 3> kCounts = {1, 10, 100};

using Touches = FleetTouches;
using Guests = std::vector<std::unique_ptr<TouchingGuest>>;

/// For each guest an order of its own.
Touches draw_touches(std::size_t guests, std::uint32_t touched) {
  Touches touches;
  for (std::size_t i = 0; i < guests; ++i) {
    touches.push_back(blocks_shuffled(kServeBlocks, kServeSeed + i));
    touches.back().resize(touched);
  }
  return touches;
}

GuestTask task_of(const std::vector<std::uint32_t>& touches) {
  return {kServeBlocks * kBlockBytes, touches, -1, false, {}, 1};
}

/// A guest that has been served one page: so it is known to be served.
Result<std::unique_ptr<TouchingGuest>> start_served(const std::string& socket,
                                                    const std::vector<std::uint32_t>& touches) {
  LAMINA_ASSIGN_OR_RETURN(auto guest, TouchingGuest::start(socket, task_of(touches)));
  LAMINA_RETURN_IF_ERROR(guest->go(0, 1));
  LAMINA_RETURN_IF_ERROR(guest->take_done());
  return guest;
}

/// All guests of one run and whoever serves them. The server goes last.
struct Fleet {
  std::unique_ptr<PageServer> program;
  std::vector<std::unique_ptr<ConnectedGuest>> connected;
  BareThreads bare;
  Guests guests;
};

Status touch(const Guests& guests, const Touches& touches) {
  for (std::size_t i = 0; i < guests.size(); ++i) {
    LAMINA_RETURN_IF_ERROR(guests[i]->go(0, touches[i].size()));
  }
  for (const auto& guest : guests) LAMINA_RETURN_IF_ERROR(guest->take_done());
  return {};
}

Contender fleet(const std::string& name, const FaultInput& input, const Touches& touches,
                const std::function<Status(Fleet&)>& prepare) {
  const auto running = std::make_shared<std::unique_ptr<Fleet>>();
  return {name,
          [=] {
            *running = std::make_unique<Fleet>();
            return prepare(**running);
          },
          [=, &touches] { return touch((*running)->guests, touches); },
          {},
          [=, &input, &touches]() -> Status {
            for (std::size_t i = 0; i < touches.size(); ++i) {
              if ((*running)->guests[i]->sum() == input.expected_sum(touches[i])) continue;
              return fail(ErrorKind::kCorrupt, "guest {} read other bytes than the snapshot has",
                          i);
            }
            running->reset();
            return {};
          }};
}

Status measure_fleet(Bench& bench, const FaultInput& input, std::size_t count) {
  Comparison comparison;
  comparison.name = fmt::format("serve/{}-vms", count);
  if (!bench.wants(comparison.name)) return {};
  const Touches touches = draw_touches(count, kTouched);
  comparison.what = "every VM touches a random tenth of its 64 MiB, all at once";
  comparison.floor_is = "bare loops on as many threads";
  comparison.ballast_bytes = std::min<std::uint64_t>(count, 32) * input.memory().size();
  comparison.contenders = fleet_contenders(input, touches);
  return bench.run(comparison);
}

/// The slope between the first VM and the last of those that are served and do nothing.
Status measure_idle(Bench& bench, const FaultInput& input) {
  constexpr std::uint64_t kBudget = (std::uint64_t{64} << 10) + kServeBlocks / 8;
  const std::string name = "serve/idle-vm";
  if (!bench.wants(name)) return {};
  fmt::print(stderr, "{} …\n", name);
  const Touches touches = draw_touches(kCounts.back(), 1);
  LAMINA_ASSIGN_OR_RETURN(const auto program, PageServer::start(input.snapshot().path));
  Guests guests;
  std::uint64_t first = 0;
  for (const auto& own : touches) {
    LAMINA_ASSIGN_OR_RETURN(auto guest, start_served(program->socket(), own));
    guests.push_back(std::move(guest));
    if (guests.size() == 1) first = program->memory_bytes();
  }
  const std::uint64_t last = program->memory_bytes();
  const std::uint64_t growth = last > first ? last - first : 0;
  fmt::print(stderr, "  {} KiB with one VM, {} KiB with {}\n", first / 1024, last / 1024,
             guests.size());
  bench.add({name, growth / (guests.size() - 1), kServeBlocks, kBudget, "memory per VM", "blocks"});
  guests.clear();
  return {};
}

}  // namespace

Result<std::unique_ptr<FaultInput>> make_fleet_input(const std::string& directory) {
  LAMINA_ASSIGN_OR_RETURN(const SnapshotChain chain,
                          build_chain(directory, kServeBlocks, kServeDiffs));
  return FaultInput::create(chain.youngest, directory + "/materialized");
}

FleetTouches draw_fleet_touches(std::size_t guests) { return draw_touches(guests, kTouched); }

std::vector<Contender> fleet_contenders(const FaultInput& input, const FleetTouches& touches) {
  const auto start_program = [&input, &touches](Fleet& running) -> Status {
    LAMINA_ASSIGN_OR_RETURN(running.program, PageServer::start(input.snapshot().path));
    for (const auto& own : touches) {
      LAMINA_ASSIGN_OR_RETURN(auto guest, start_served(running.program->socket(), own));
      running.guests.push_back(std::move(guest));
    }
    return {};
  };
  const auto start_loops = [&input, &touches](Fleet& running) -> Status {
    for (const auto& own : touches) {
      LAMINA_ASSIGN_OR_RETURN(auto guest, connect_guest(task_of(own)));
      running.connected.push_back(std::move(guest));
    }
    LAMINA_RETURN_IF_ERROR(running.bare.start(
        std::clamp(std::thread::hardware_concurrency(), 1U, 4U), running.connected, input));
    for (const auto& guest : running.connected) {
      LAMINA_RETURN_IF_ERROR(guest->guest->go(0, 1));
      LAMINA_RETURN_IF_ERROR(guest->guest->take_done());
      running.guests.push_back(std::move(guest->guest));
    }
    return {};
  };
  return {fleet("ours", input, touches, start_program),
          fleet("floor", input, touches, start_loops)};
}

Status run_serve(Bench& bench, const std::string& directory) {
  LAMINA_ASSIGN_OR_RETURN(const auto input, make_fleet_input(directory));
  for (const std::size_t count : kCounts) {
    LAMINA_RETURN_IF_ERROR(measure_fleet(bench, *input, count));
  }
  LAMINA_RETURN_IF_ERROR(measure_idle(bench, *input));
  return remove_all(directory);
}

}  // namespace lamina::bench
