// A program that embeds lamina: stores a memory file and a diff of it, reads the second snapshot in
// place, merges its layers, serves it by page faults, and writes its memory as one file.
//
//   embed FULL DIFF STORE OUT
//
// With CMake:      cmake -S . -B build && cmake --build build
// With pkg-config: g++ -std=c++23 embed.cc $(pkg-config --cflags --libs lamina) -o embed
//
// sandbox.cc pauses and resumes VMs, merges in the background, and retries.
#include <lamina/page_server.h>
#include <lamina/store.h>
#include <lamina/version.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <string>

namespace {

// Each step returns a Result: a value, or an error whose message names the object and the remedy.
lamina::Status run(const std::string& full, const std::string& diff, const std::string& directory,
                   const std::string& out) {
  const auto store = lamina::Store::open(directory);
  if (!store) return std::unexpected(store.error());

  // Names without a slash are snapshots of the store. The memory may also be a descriptor or, if it
  // is all of a guest's, a buffer.
  const auto first = store->ingest({.memory_file = full, .snapshot = "vm-1"});
  if (!first) return std::unexpected(first.error());
  const auto second = store->ingest({.memory_file = diff, .snapshot = "vm-2", .parent = "vm-1"});
  if (!second) return std::unexpected(second.error());
  std::printf("%s: %ju blocks stored\n", second->snapshot.c_str(),
              static_cast<std::uintmax_t>(second->stored_blocks));

  // Reads any range, checked against the checksums. The reader keeps the state that it has opened,
  // whatever happens to the name.
  const auto reader = store->read("vm-2");
  if (!reader) return std::unexpected(reader.error());
  std::array<std::byte, 16> bytes{};
  if (const auto read = reader->read(0, bytes); !read) return read;
  std::printf("memory begins with");
  for (const std::byte byte : bytes) std::printf(" %02x", std::to_integer<unsigned>(byte));
  std::printf("\n");
  for (const lamina::LayerInfo& layer : reader->info().layers) {
    std::printf("layer %s: %ju blocks in use\n", layer.build_id.to_string().c_str(),
                static_cast<std::uintmax_t>(layer.live_blocks));
  }

  const auto merged = store->merge({.snapshot = "vm-2"});
  if (!merged) return std::unexpected(merged.error());
  std::printf("merged: %u layers, then %u\n", merged->layers_before, merged->layers_after);

  // Firecracker would connect there with a back end of type Uffd. (For VMs that Store::resume()
  // loads, serve the store: `serving.store`.)
  lamina::ServeOptions serving;
  serving.endpoints = {{store->path_of("vm-2"), out + ".sock"}};
  const auto server = lamina::PageServer::start(serving);
  if (!server) return std::unexpected(server.error());
  std::printf("served at %s\n", serving.endpoints[0].socket.c_str());
  (*server)->detach();  // no VM has connected: at once

  const auto written = store->materialize({.snapshot = "vm-2", .out = out});
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
