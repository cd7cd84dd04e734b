// The product's own populating of a cold snapshot in order: its session with the thread that reads
// ahead, whom the session helps, and without it. Bare loops with the like are in
// suspects_populate.cc. "announced": POSIX_FADV_WILLNEED of every layer before.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "base/block.h"
#include "base/error.h"
#include "fault_contenders.h"
#include "os/file.h"
#include "os/page_cache.h"
#include "snapshot_chain.h"
#include "suspects_loop.h"

namespace lamina::bench {
namespace {

constexpr std::uint64_t kSeed = 31;

Status drop_layers(const FaultInput& input) {
  for (const engine::Layer& layer : input.chain().layers()) {
    LAMINA_ASSIGN_OR_RETURN(const os::FileFacts facts, os::facts_of(layer.fd(), layer.path()));
    const int error =
        ::posix_fadvise(layer.fd(), 0, static_cast<off_t>(facts.size_bytes), POSIX_FADV_DONTNEED);
    if (error != 0) return system_failure("posix_fadvise", layer.path(), error);
  }
  return {};
}

void announce_layers(const FaultInput& input) {
  for (const engine::Layer& layer : input.chain().layers()) {
    const auto facts = os::facts_of(layer.fd(), layer.path());
    if (facts) os::read_ahead(layer.fd(), 0, facts->size_bytes);
  }
}

Contender populating_cold(const std::string& name, const FaultSetting& setting,
                          const ServerMaker& maker, const std::vector<format::BlockRun>& runs,
                          bool announced) {
  Contender contender = populating(name, setting, maker, runs);
  contender.prepare = [prepare = contender.prepare, input = setting.input]() -> Status {
    LAMINA_RETURN_IF_ERROR(prepare());
    ::sync();
    return drop_layers(*input);
  };
  if (announced) {
    contender.run = [run = contender.run, input = setting.input] {
      announce_layers(*input);
      return run();
    };
  }
  return contender;
}

}  // namespace

Status run_populate_product_suspects(Bench& bench, const BareLayer& /*layer*/) {
  const std::string name = "suspect-populate-read/cold-product";
  if (!bench.wants(name)) return {};
  const std::string directory = bench.directory() + "/suspect-populate";
  LAMINA_ASSIGN_OR_RETURN(
      ChainBuilder builder,
      ChainBuilder::start(directory, GuestMemory::dense(bench.memory_blocks(), kSeed),
                          ChainBuilder::Base::kAllWritten, ChainBuilder::Plain::kNo));
  {
    LAMINA_ASSIGN_OR_RETURN(const auto input, FaultInput::create(builder.chain().youngest,
                                                                 directory + "/materialized"));
    const auto touches = blocks_in_order(input->block_count());
    const FaultSetting setting{input.get(), &touches, placements().back(), false};
    const std::vector<format::BlockRun> all = {{0, input->block_count()}};
    LAMINA_ASSIGN_OR_RETURN(const auto reader, start_reader(setting));
    Comparison comparison = suspect_comparison(
        name,
        fmt::format("{} MiB of a cold snapshot in order: lamina's session with its reader (ours), "
                    "without, both announced before",
                    input->memory().size() >> 20),
        input->memory().size());
    comparison.bytes = input->memory().size();
    comparison.contenders = {
        populating_cold("ours", setting, session_server({}, reader), all, false),
        populating_cold("ours, announced", setting, session_server({}, reader), all, true),
        populating_cold("alone", setting, session_server(), all, false),
        populating_cold("alone, announced", setting, session_server(), all, true)};
    LAMINA_RETURN_IF_ERROR(bench.run(comparison));
    note_ratios(bench);
  }
  return remove_all(directory);
}

}  // namespace lamina::bench
