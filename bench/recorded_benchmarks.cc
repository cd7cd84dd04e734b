// The main operations on the memory of a real Linux guest (recorded_guest.h): where its data lies,
// how long its runs are and how many pages it clears are not made up.
#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>

#include "base/block.h"
#include "base/error.h"
#include "bench.h"
#include "fault_contenders.h"
#include "floor_loops.h"
#include "ingest_contenders.h"
#include "lamina/ingest.h"
#include "merge_contenders.h"
#include "os/file.h"
#include "plain_reference.h"
#include "recorded_guest.h"
#include "snapshot_chain.h"
#include "snapshot_check.h"

namespace lamina::bench {
namespace {

constexpr const char* kNames[] = {"guest/ingest/full", "guest/ingest/diff", "guest/merge",
                                  "guest/populate"};

Comparison comparison_of(const std::string& name, const RecordedGuest& guest) {
  Comparison comparison;
  comparison.name = name;
  comparison.bytes = guest.first.block_count() * kBlockBytes;
  comparison.ballast_bytes = comparison.bytes + comparison.bytes / 4;
  return comparison;
}

/// As many bytes as a compact layer has, written and synced: what a read alone leaves out.
Status write_and_sync(const std::string& path, std::uint64_t bytes) {
  const std::vector<std::byte> buffer(std::size_t{1} << 20);
  LAMINA_ASSIGN_OR_RETURN(const os::Fd fd,
                          os::open_at(AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL, path));
  for (std::uint64_t done = 0; done < bytes; done += buffer.size()) {
    const auto piece = std::min<std::uint64_t>(buffer.size(), bytes - done);
    LAMINA_RETURN_IF_ERROR(os::write_at(fd.get(), std::span(buffer).first(piece), done, path));
  }
  return os::sync(fd.get(), path);
}

/// The layout is lamina's choice, by how much of the file is zeros.
Status run_full(Bench& bench, const RecordedGuest& guest) {
  const std::string directory = bench.directory() + "/guest-full";
  const std::string memory_file = directory + "/memory";
  const std::string snapshot = directory + "/store/snapshot";
  const std::string written = directory + "/written";
  const PlainPaths plain{directory + "/plain", directory + "/plain.header"};
  const Uuid build = Uuid::random();
  PlainHeader plain_header;
  LAMINA_RETURN_IF_ERROR(make_store(directory + "/store"));
  const auto write_input = [&]() -> Status {
    LAMINA_RETURN_IF_ERROR(remove_all(memory_file));
    return guest.first.write_full_file(memory_file);
  };
  IngestOptions options;
  options.memory_file = memory_file;
  options.snapshot = snapshot;
  Comparison comparison = comparison_of("guest/ingest/full", guest);
  comparison.what = "the full memory file of a real guest becomes a snapshot, synced";
  comparison.floor_is = "one read of the file by 256 KiB, no syncs";
  comparison.contenders = {
      {"plain", write_input,
       [&]() -> Status {
         LAMINA_ASSIGN_OR_RETURN(plain_header, plain_ingest_full(memory_file, plain, build));
         return {};
       },
       [&] { return check_plain(plain_header, {{build.to_string(), plain.data}}, guest.first); },
       [&] { return remove_all(plain.data); }},
      {"ours", write_input,
       [&]() -> Status {
         LAMINA_RETURN_IF_ERROR(ingest(options));
         return {};
       },
       [&] { return check_snapshot(snapshot, guest.first); }, [&] { return remove_all(snapshot); }},
      {"floor", write_input, [&] { return read_whole_file(memory_file); }, {}, {}},
      {"write",
       {},
       [&] { return write_and_sync(written, guest.first.data_blocks() * kBlockBytes); },
       {},
       [&] { return remove_all(written); }}};
  LAMINA_RETURN_IF_ERROR(bench.run(comparison));
  bench.note(fmt::format("{} of {} blocks have data; \"write\": they are written and synced",
                         guest.first.data_blocks(), guest.first.block_count()));
  return remove_all(directory);
}

Result<ChainBuilder> start_chain(const std::string& directory, const RecordedGuest& guest) {
  return ChainBuilder::start(directory, guest.first, ChainBuilder::Base::kAllWritten,
                             ChainBuilder::Plain::kYes);
}

Status run_diff(Bench& bench, const RecordedGuest& guest) {
  using Cached = DiffContenders::Cached;
  const std::string directory = bench.directory() + "/guest-diff";
  LAMINA_ASSIGN_OR_RETURN(ChainBuilder builder, start_chain(directory, guest));
  DiffContenders contenders(directory, builder.take(), guest.diffs.front());
  Comparison comparison = comparison_of("guest/ingest/diff", guest);
  comparison.what = "a diff of a real guest becomes a layer, synced";
  comparison.floor_is = "the extents walked, the data read once, 10 syncs";
  comparison.budget.ours_over_floor = 2.0;
  comparison.contenders = {contenders.plain(Cached::kDataOnly),
                           contenders.ours(Layout::kAdopted, Cached::kDataOnly),
                           contenders.floor(Layout::kAdopted, Cached::kDataOnly),
                           contenders.walk_and_read(Cached::kDataOnly)};
  LAMINA_RETURN_IF_ERROR(bench.run(comparison));
  bench.note(contenders.description());
  return remove_all(directory);
}

Status run_guest_merge(Bench& bench, const SnapshotChain& chain, const RecordedGuest& guest) {
  LAMINA_ASSIGN_OR_RETURN(const auto merging, MergeContenders::create(chain));
  Comparison comparison = comparison_of("guest/merge", guest);
  comparison.bytes = merging->bytes();
  comparison.what = "all pauses of a real guest become one layer in a new snapshot, synced";
  comparison.floor_is = "copy_file_range of the same runs; file and directory synced";
  comparison.budget.ours_over_floor = 1.25;
  comparison.contenders = {merging->plain(), merging->ours(),
                           merging->floor("floor", Sharing::kNone, MergeContenders::Sync::kYes)};
  LAMINA_RETURN_IF_ERROR(bench.run(comparison));
  bench.note(fmt::format("{}, {} layers", merging->description(), guest.diffs.size() + 1));
  return {};
}

Status run_guest_populate(Bench& bench, const SnapshotChain& chain, const RecordedGuest& guest) {
  LAMINA_ASSIGN_OR_RETURN(const auto input,
                          FaultInput::create(chain.youngest, chain.directory + "/materialized"));
  const auto touches = blocks_in_order(input->block_count());
  const FaultSetting setting{input.get(), &touches, placements().back(), false};
  const std::vector<BlockRun> all = {{0, input->block_count()}};
  LAMINA_ASSIGN_OR_RETURN(const auto reader, start_reader(setting));
  Comparison comparison = comparison_of("guest/populate", guest);
  comparison.what = "all of the memory of a real guest, 2 MiB at a time";
  comparison.floor_is = "one ioctl for each run of data or zeros, from a mapping, up to 2 MiB";
  comparison.budget.ours_over_floor = 1 / 0.85;
  comparison.contenders = {populating("plain", setting, plain_server(), all),
                           populating("ours", setting, session_server({}, reader), all),
                           populating("floor", setting, floor_server(), all)};
  return bench.run(comparison);
}

Status run_chain_of(Bench& bench, const RecordedGuest& guest) {
  const std::string directory = bench.directory() + "/guest-chain";
  LAMINA_ASSIGN_OR_RETURN(ChainBuilder builder, start_chain(directory, guest));
  for (const auto& diff : guest.diffs) LAMINA_RETURN_IF_ERROR(builder.add(diff));
  const SnapshotChain chain = builder.take();
  if (bench.wants("guest/merge")) LAMINA_RETURN_IF_ERROR(run_guest_merge(bench, chain, guest));
  if (bench.wants("guest/populate")) {
    LAMINA_RETURN_IF_ERROR(run_guest_populate(bench, chain, guest));
  }
  return remove_all(directory);
}

}  // namespace

Status run_recorded(Bench& bench) {
  const std::string& recorded = bench.options().guest;
  bool wanted = false;
  for (const char* name : kNames) {
    if (!bench.wants(name)) continue;
    if (recorded.empty()) bench.skip(name, "--guest names no memory files of a real guest");
    wanted = true;
  }
  if (!wanted || recorded.empty()) return {};
  LAMINA_ASSIGN_OR_RETURN(const RecordedGuest guest, open_recorded_guest(recorded));
  if (bench.wants(kNames[0])) LAMINA_RETURN_IF_ERROR(run_full(bench, guest));
  if (bench.wants(kNames[1])) LAMINA_RETURN_IF_ERROR(run_diff(bench, guest));
  if (!bench.wants(kNames[2]) && !bench.wants(kNames[3])) return {};
  return run_chain_of(bench, guest);
}

}  // namespace lamina::bench
