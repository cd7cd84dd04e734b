#include "memory_files.h"

#include <fcntl.h>

#include <algorithm>
#include <span>

#include "base/error.h"
#include "os/file.h"
#include "server/working_set_storer.h"
#include "store/snapshot_directory.h"

namespace lamina::torture {
namespace {

/// Long enough to be punched.
constexpr std::size_t kFirstZeroPage = 10;
constexpr std::size_t kZeroPages = 18;

void write_page(Memory& memory, std::size_t page, std::mt19937_64& random) {
  const std::size_t start = page * kPageBytes;
  const std::size_t end = std::min(start + kPageBytes, memory.size());
  for (std::size_t i = start; i < end; ++i) memory[i] = static_cast<char>(random());
  memory[start] = 1;
}

void clear_page(Memory& memory, std::size_t page) {
  const std::size_t start = page * kPageBytes;
  const std::size_t end = std::min(start + kPageBytes, memory.size());
  std::fill(memory.begin() + static_cast<std::ptrdiff_t>(start),
            memory.begin() + static_cast<std::ptrdiff_t>(end), char{0});
}

}  // namespace

Memory first_memory(Stage& stage) {
  Memory memory(kMemoryBytes, '\0');
  for (std::size_t page = 0; page < kPages; ++page) {
    const bool is_used = page < kFirstZeroPage || page >= kFirstZeroPage + kZeroPages;
    if (is_used && page % 4 != 3) write_page(memory, page, stage.random);
  }
  write_page(memory, kPages - 1, stage.random);
  return memory;
}

Pages change(Memory& memory, Stage& stage) {
  Pages dirty;
  for (int i = 0; i < 4; ++i) {
    dirty.push_back(stage.random() % kPages);
    write_page(memory, dirty.back(), stage.random);
  }
  for (int i = 0; i < 2; ++i) {
    dirty.push_back(stage.random() % kPages);
    clear_page(memory, dirty.back());
  }
  dirty.push_back(stage.random() % kPages);
  std::sort(dirty.begin(), dirty.end());
  dirty.erase(std::unique(dirty.begin(), dirty.end()), dirty.end());
  return dirty;
}

Status write_diff(const std::string& path, const Memory& memory, const Pages& dirty) {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd file,
                          os::open_at(AT_FDCWD, path, O_RDWR | O_CREAT | O_EXCL, path, 0644));
  LAMINA_RETURN_IF_ERROR(os::truncate(file.get(), memory.size(), path));
  for (const std::size_t page : dirty) {
    const std::size_t start = page * kPageBytes;
    const std::size_t bytes = std::min(kPageBytes, memory.size() - start);
    LAMINA_RETURN_IF_ERROR(os::write_at(
        file.get(), std::as_bytes(std::span(memory).subspan(start, bytes)), start, path));
  }
  return os::sync(file.get(), path);
}

Status write_full(const std::string& path, const Memory& memory) {
  LAMINA_ASSIGN_OR_RETURN(const os::Fd file,
                          os::open_at(AT_FDCWD, path, O_RDWR | O_CREAT | O_EXCL, path, 0644));
  LAMINA_RETURN_IF_ERROR(os::write_at(file.get(), std::as_bytes(std::span(memory)), 0, path));
  return os::sync(file.get(), path);
}

Status add_full(Stage& stage, const std::string& name, const Memory& memory) {
  const std::string path = stage.file("tmp");
  LAMINA_RETURN_IF_ERROR(write_full(path, memory));
  IngestOptions options;
  options.memory_file = path;
  options.snapshot = stage.snapshot(name);
  options.consume = true;
  options.layout = Layout::kCompact;
  return status_of(ingest(options));
}

Status add_diff(Stage& stage, const std::string& name, const std::string& parent, Memory& memory,
                Layout layout, HeaderFormat header) {
  const Pages dirty = change(memory, stage);
  const std::string path = stage.file("tmp");
  LAMINA_RETURN_IF_ERROR(write_diff(path, memory, dirty));
  IngestOptions options;
  options.memory_file = path;
  options.snapshot = stage.snapshot(name);
  options.parent = stage.snapshot(parent);
  options.consume = true;
  options.layout = layout;
  options.header = header;
  return status_of(ingest(options));
}

Status store_working_set(Stage& stage, const std::string& name, std::uint32_t first_page) {
  LAMINA_ASSIGN_OR_RETURN(const store::OpenSnapshot snapshot,
                          store::open_snapshot(stage.snapshot(name)));
  server::Recording recording;
  recording.snapshot = snapshot.path;
  recording.pause_id = snapshot.pause_id;
  recording.memory_bytes = snapshot.header.memory_bytes;
  for (std::uint32_t i = 0; i < 20; ++i) recording.blocks.push_back((first_page + i * 7) % kPages);
  return server::store_recording(recording);
}
}  // namespace lamina::torture
