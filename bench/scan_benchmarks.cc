// The inner loops of ingest and verify, by the path that the CPU takes, from DRAM and from the
// second-level cache: zero test of zeros, checksum, and the fused scan of data.
//
// The plain contender is the original's zero test by 8 bytes with the checksum of the library; the
// floor is a loop that only reads the memory. memcpy is there for scale.
#include <fmt/format.h>

#include <cstring>
#include <functional>

#include "base/block.h"
#include "base/error.h"
#include "bench.h"
#include "engine/block_scan.h"
#include "format/checksum.h"

namespace lamina::bench {
namespace {

struct Place {
  const char* name;
  std::size_t bytes;
  std::size_t repeats;  ///< so that every contender goes through 2 GiB, or a quarter when quick
};

volatile std::uint64_t sink = 0;  // NOLINT: keeps the loops from being optimized away

std::uint64_t read_memory(std::span<const std::byte> memory) {
  // Eight sums side by side, so that it is the memory that limits.
  std::uint64_t sums[8] = {};  // NOLINT(modernize-avoid-c-arrays): kept in registers
  std::uint64_t words[8];      // NOLINT(modernize-avoid-c-arrays)
  for (std::size_t i = 0; i < memory.size(); i += sizeof(words)) {
    std::memcpy(words, &memory[i], sizeof(words));
    for (std::size_t j = 0; j < 8; ++j) sums[j] += words[j];
  }
  std::uint64_t total = 0;
  for (const std::uint64_t sum : sums) total += sum;
  return total;
}

bool plain_is_zero(const std::byte* block) {
  for (std::size_t i = 0; i < kBlockBytes; i += sizeof(std::uint64_t)) {
    std::uint64_t word = 0;
    std::memcpy(&word, block + i, sizeof(word));
    if (word != 0) return false;
  }
  return true;
}

using Loop = std::function<std::uint64_t(std::span<const std::byte>)>;

Contender loop_over(const std::string& name, std::span<const std::byte> memory, std::size_t repeats,
                    Loop loop) {
  return {name,
          {},
          [memory, repeats, loop = std::move(loop)]() -> Status {
            for (std::size_t i = 0; i < repeats; ++i) sink = sink + loop(memory);
            return {};
          },
          {},
          {}};
}

/// `body` once per block, results added up.
template <typename Body>
Loop each_block(Body body) {
  return [body](std::span<const std::byte> memory) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < memory.size(); i += kBlockBytes) sum += body(&memory[i]);
    return sum;
  };
}

struct Task {
  std::string name;
  std::string what;
  Loop plain;
  std::function<Loop(const engine::ScanPath&)> ours;
  std::byte fill;
};

std::vector<Task> tasks() {
  const auto checksum = [](const std::byte* block) {
    return format::checksum64(std::span(block, kBlockBytes));
  };
  return {
      {"zero", "zero test of blocks of zeros",
       each_block([](const std::byte* block) { return std::uint64_t{plain_is_zero(block)}; }),
       [](const engine::ScanPath& path) {
         return each_block([test = path.is_zero](const std::byte* block) {
           return std::uint64_t{test(block, kBlockBytes)};
         });
       },
       std::byte{0}},
      {"checksum", "checksum of every block", each_block(checksum),
       [](const engine::ScanPath& path) {
         return each_block(
             [sum = path.checksum](const std::byte* block) { return sum(block, kBlockBytes); });
       },
       std::byte{1}},
      {"scan", "zero test and checksum of blocks of data",
       each_block([checksum](const std::byte* block) {
         return plain_is_zero(block) ? 0 : checksum(block);
       }),
       [](const engine::ScanPath& path) -> Loop {
         return [scan = path.scan](std::span<const std::byte> memory) {
           constexpr std::size_t kBlocks = 64;
           std::vector<engine::BlockScan> results(kBlocks);
           std::uint64_t sum = 0;
           for (std::size_t i = 0; i < memory.size(); i += kBlocks * kBlockBytes) {
             scan(&memory[i], kBlocks, results.data());
             sum += results.back().checksum;
           }
           return sum;
         };
       },
       std::byte{1}},
  };
}

}  // namespace

Status run_scan(Bench& bench) {
  const std::size_t total = std::size_t{bench.options().quick ? 512U : 2048U} << 20;
  for (const Place& place :
       {Place{"dram", std::size_t{256} << 20, 0}, Place{"l2", std::size_t{256} << 10, 0}}) {
    const std::size_t repeats = total / place.bytes;
    std::vector<std::byte> copy(place.bytes);
    for (const Task& task : tasks()) {
      const std::vector<std::byte> memory(place.bytes, task.fill);
      for (const engine::ScanPath& path : engine::scan_paths()) {
        Comparison comparison;
        comparison.name = fmt::format("scan/{}/{}/{}", task.name, path.name, place.name);
        if (!bench.wants(comparison.name)) continue;
        comparison.what = fmt::format("{}, {} MiB at a time", task.what,
                                      static_cast<double>(place.bytes) / (1 << 20));
        comparison.floor_is = "a loop that reads the memory";
        comparison.bytes = repeats * place.bytes;
        comparison.contenders = {
            loop_over("plain", memory, repeats, task.plain),
            loop_over("ours", memory, repeats, task.ours(path)),
            loop_over("floor", memory, repeats, read_memory),
            loop_over("memcpy", memory, repeats,
                      [&copy](std::span<const std::byte> from) {
                        std::memcpy(copy.data(), from.data(), from.size());
                        return std::to_integer<std::uint64_t>(copy[from.size() / 2]);
                      }),
        };
        LAMINA_RETURN_IF_ERROR(bench.run(comparison));
      }
    }
  }
  return {};
}

}  // namespace lamina::bench
