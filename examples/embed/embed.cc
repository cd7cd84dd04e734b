// A program that embeds lamina: stores a full memory file and a diff of it, shows what the second
// snapshot is made of, merges its layers, and writes its memory as one file.
//
//   embed FULL DIFF STORE OUT
//
// With CMake:      cmake -S . -B build && cmake --build build
// With pkg-config: g++ -std=c++23 embed.cc $(pkg-config --cflags --libs lamina) -o embed
#include <lamina/ingest.h>
#include <lamina/inspect.h>
#include <lamina/materialize.h>
#include <lamina/merge.h>
#include <lamina/version.h>

#include <cstdio>
#include <string>

namespace {

// Each step returns a Result: a value, or an error whose message names the object and the remedy.
lamina::Status run(const std::string& full, const std::string& diff, const std::string& store,
                   const std::string& out) {
  lamina::IngestOptions first;
  first.memory_file = full;
  first.snapshot = store + "/vm-1";
  if (const auto report = lamina::ingest(first); !report) return std::unexpected(report.error());

  lamina::IngestOptions second;
  second.memory_file = diff;
  second.parent = store + "/vm-1";
  second.snapshot = store + "/vm-2";
  const auto ingested = lamina::ingest(second);
  if (!ingested) return std::unexpected(ingested.error());
  std::printf("%s: %ju blocks stored\n", ingested->snapshot.c_str(),
              static_cast<std::uintmax_t>(ingested->stored_blocks));

  const auto info = lamina::inspect(second.snapshot);
  if (!info) return std::unexpected(info.error());
  for (const lamina::LayerInfo& layer : info->layers) {
    std::printf("layer %s: %ju blocks in use\n", layer.build_id.to_string().c_str(),
                static_cast<std::uintmax_t>(layer.live_blocks));
  }

  lamina::MergeOptions merging;
  merging.snapshot = second.snapshot;
  const auto merged = lamina::merge(merging);
  if (!merged) return std::unexpected(merged.error());
  std::printf("merged: %u layers, then %u\n", merged->layers_before, merged->layers_after);

  lamina::MaterializeOptions writing;
  writing.snapshot = second.snapshot;
  writing.out = out;
  const auto written = lamina::materialize(writing);
  if (!written) return std::unexpected(written.error());
  std::printf("%s: %ju bytes\n", out.c_str(), static_cast<std::uintmax_t>(written->memory_bytes));
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: embed FULL DIFF STORE OUT (lamina %s)\n", lamina::version_text());
    return 2;
  }
  const lamina::Status done = run(argv[1], argv[2], argv[3], argv[4]);
  if (done) return 0;
  std::fprintf(stderr, "embed: %s\n", done.error().message.c_str());
  return 1;
}
