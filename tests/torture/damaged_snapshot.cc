#include "damaged_snapshot.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <utility>

#include "base/error.h"
#include "lamina/ingest.h"
#include "lamina/materialize.h"
#include "lamina/merge.h"
#include "lamina/repair.h"
#include "memory_files.h"
#include "store/snapshot_directory.h"

namespace lamina::torture {
namespace {

Status check_message(const Error& error) {
  if (error.message.find('\'') != std::string::npos) return {};
  return fail(ErrorKind::kFailed, "an error that names nothing: {}", error.message);
}

/// True when guest block `block` is what `buffer` holds; past the memory's end it is zeros.
bool is_right(const Memory& memory, std::size_t block, std::span<const std::byte> buffer) {
  const std::size_t start = block * kPageBytes;
  const std::size_t known = std::min(kPageBytes, memory.size() - start);
  return std::memcmp(buffer.data(), memory.data() + start, known) == 0 &&
         std::all_of(buffer.begin() + static_cast<std::ptrdiff_t>(known), buffer.end(),
                     [](std::byte byte) { return byte == std::byte{0}; });
}

/// Removes what was made, however it ended.
class Made {
 public:
  explicit Made(std::string path) : path_(std::move(path)) {}
  Made(const Made&) = delete;
  Made& operator=(const Made&) = delete;
  Made(Made&&) = delete;
  Made& operator=(Made&&) = delete;
  ~Made() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

 private:
  std::string path_;
};

Status as_read(const std::string& what, const std::string& snapshot, const Memory& memory) {
  const auto outcome = read_damaged(snapshot, memory);
  if (outcome) return {};
  return std::unexpected(with_context(what, outcome.error()));
}

}  // namespace

Result<Outcome> read_damaged(const std::string& snapshot, const Memory& memory) {
  const auto opened = store::open_snapshot(snapshot);
  if (!opened) {
    LAMINA_RETURN_IF_ERROR(check_message(opened.error()));
    return Outcome::kRefused;
  }
  if (opened->header.memory_bytes != memory.size()) {
    return fail(ErrorKind::kFailed, "it has {} bytes of memory", opened->header.memory_bytes);
  }
  Outcome outcome = Outcome::kHarmless;
  std::array<std::byte, kPageBytes> buffer{};
  for (std::uint32_t block = 0; block < opened->chain.mapping().block_count(); ++block) {
    const Status read = opened->chain.read(block, buffer, engine::Chain::Check::kChecksums);
    if (!read) {
      LAMINA_RETURN_IF_ERROR(check_message(read.error()));
      outcome = Outcome::kStopped;
    } else if (!is_right(memory, block, buffer)) {
      return fail(ErrorKind::kFailed, "block {} is read, and wrong", block);
    }
  }
  return outcome;
}

Derivation::Derivation(Stage& stage, std::string snapshot, Memory memory)
    : stage_(stage),
      snapshot_(std::move(snapshot)),
      memory_(std::move(memory)),
      child_memory_(memory_) {
  const Pages dirty = change(child_memory_, stage_);
  const Status written = write_diff(stage_.file("child-diff"), child_memory_, dirty);
  if (!written) throw std::runtime_error(written.error().message);
}

Status Derivation::check(bool must_be_repaired) {
  LAMINA_RETURN_IF_ERROR(check_materialized());
  LAMINA_RETURN_IF_ERROR(check_merged());
  LAMINA_RETURN_IF_ERROR(check_child());
  return check_repaired(must_be_repaired);
}

Status Derivation::check_materialized() {
  MaterializeOptions options;
  options.snapshot = snapshot_;
  options.out = stage_.file("materialized");
  const Made made(options.out);
  const auto done = materialize(options);
  if (!done) return check_message(done.error());
  LAMINA_ASSIGN_OR_RETURN(const std::string found, contents_of(options.out));
  if (found == memory_) return {};
  return fail(ErrorKind::kFailed, "a wrong memory was materialized");
}

Status Derivation::check_merged() {
  MergeOptions options;
  options.snapshot = snapshot_;
  options.out = stage_.snapshot("merged");
  const Made made(*options.out);
  const auto done = merge(options);
  if (!done) return check_message(done.error());
  return as_read("merged", *options.out, memory_);
}

Status Derivation::check_child() {
  IngestOptions options;
  options.memory_file = stage_.file("child-diff");
  options.snapshot = stage_.snapshot("child");
  options.parent = snapshot_;
  const Made made(options.snapshot);
  const auto done = ingest(options);
  if (!done) return check_message(done.error());
  return as_read("a child", options.snapshot, child_memory_);
}

Status Derivation::check_repaired(bool must_be_repaired) {
  const std::string copy = stage_.snapshot("repaired");
  const Made made(copy);
  std::filesystem::copy(snapshot_, copy, std::filesystem::copy_options::recursive);
  const auto done = repair(copy);
  if (!done) {
    if (!must_be_repaired) return check_message(done.error());
    return std::unexpected(with_context("not repaired", done.error()));
  }
  const auto outcome = read_damaged(copy, memory_);
  if (!outcome) return std::unexpected(with_context("repaired", outcome.error()));
  if (!must_be_repaired || *outcome == Outcome::kHarmless) return {};
  return fail(ErrorKind::kFailed, "repaired, and its memory is still not right");
}

}  // namespace lamina::torture
