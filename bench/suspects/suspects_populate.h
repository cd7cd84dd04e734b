// Ways of bringing a layer's bytes to where UFFDIO_COPY takes them from, portion by portion.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "format/trailer.h"
#include "lamina/result.h"
#include "suspects_guest.h"
#include "suspects_layer.h"

namespace lamina::bench {

enum class Source : std::uint8_t {
  kHelper,        ///< a thread preads the next portions into buffers and checks them, and whoever
                  ///< copies does too when it has nothing to copy, as ours
  kHelperAlone,   ///< the thread alone
  kRead,          ///< pread into a buffer and a check, by the thread that copies
  kMapping,       ///< a fresh mapping, checked where it is
  kPopulateRead,  ///< the same, each run with MADV_POPULATE_READ before
  kHugeMapping,   ///< the same with MADV_HUGEPAGE
  kKeptMapping,   ///< a mapping whose pages are all mapped already
  kUnchecked,     ///< the same, never looked at
};

/// By POSIX_FADV_WILLNEED, which is what readahead(2) does.
enum class Announcing : std::uint8_t {
  kNone,
  kWindow,  ///< what comes in the next 8 MiB, by whoever reads
  kAll,     ///< all from the start, by a thread of its own, as ours does with recorded runs
};

struct PopulateWay {
  std::string name;
  Source source = Source::kHelper;
  Announcing announcing = Announcing::kNone;
};

/// Runs of 512 blocks at most in all.
using BarePortion = std::vector<format::BlockRun>;

/// Buffers that outlive the guests, as a server's do.
struct PopulateBuffers {
  static constexpr std::size_t kCount = 4;
  static constexpr std::size_t kBytes = std::size_t{2} << 20;
  PopulateBuffers();
  std::vector<std::vector<std::byte>> buffers;
};

/// Fills the guest's memory with the portions, in order. `kept` is a mapping of the layer, for
/// those who want one. A helper is on the CPU `helper_cpu`.
Status populate_guest(const BareGuest& guest, const BareLayer& layer, const PopulateWay& way,
                      std::span<const BarePortion> portions, PopulateBuffers& buffers,
                      std::span<const std::byte> kept, int helper_cpu);

}  // namespace lamina::bench
