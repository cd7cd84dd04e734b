// The original program's pause, from the memory file on: what it does while the VM is frozen.
//
//   plain_pauses DIRECTORY
//
// Each line of the input names the memory file of one pause, the first a full one, all others
// diffs; the answer is how many milliseconds storing it took. Every pause gets a directory of its
// own, into which all older layers are copied; at the eighth generation all are merged into one.
#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <iostream>
#include <map>
#include <optional>
#include <string>

#include "base/error.h"
#include "plain_reference.h"

namespace lamina::bench {
namespace {

namespace fs = std::filesystem;

class PlainPauses {
 public:
  explicit PlainPauses(std::string directory) : directory_(std::move(directory)) {}

  Status pause(const std::string& memory_file) {
    const std::string older = place_;
    place_ = fmt::format("{}/pause-{}", directory_, ++pauses_);
    std::error_code error;
    fs::create_directory(place_, error);
    if (error) return fail(ErrorKind::kFailed, "make '{}': {}", place_, error.message());
    if (!header_) {
      const Uuid build = Uuid::random();
      LAMINA_ASSIGN_OR_RETURN(header_, plain_ingest_full(memory_file, paths_of(build), build));
      return {};
    }
    for (auto& [build, file] : files_) {
      const std::string copy = place_ + file.substr(older.size());
      fs::copy_file(file, copy, error);
      if (error) return fail(ErrorKind::kFailed, "copy '{}': {}", file, error.message());
      file = copy;
    }
    const Uuid build = Uuid::random();
    LAMINA_ASSIGN_OR_RETURN(header_,
                            plain_ingest_diff(memory_file, paths_of(build), *header_, build));
    if (header_->generation >= kCap) LAMINA_RETURN_IF_ERROR(merge());
    fs::remove_all(older, error);  // what a platform does with the state before
    return {};
  }

 private:
  static constexpr std::uint64_t kCap = 8;

  PlainPaths paths_of(const Uuid& build) {
    const std::string data = fmt::format("{}/memfile.{}", place_, build.to_string());
    files_[build.to_string()] = data;
    return {data, place_ + "/memfile.header"};
  }

  Status merge() {
    const std::string merged = place_ + "/merged";
    LAMINA_ASSIGN_OR_RETURN(header_,
                            plain_merge(*header_, files_, {merged, place_ + "/memfile.header"}));
    std::error_code error;
    for (const auto& [build, file] : files_) fs::remove(file, error);
    files_ = {{header_->build_id.to_string(), merged}};
    return {};
  }

  std::string directory_;
  std::string place_;
  int pauses_ = 0;
  std::optional<PlainHeader> header_;
  std::map<std::string, std::string> files_;
};

}  // namespace
}  // namespace lamina::bench

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: plain_pauses DIRECTORY\n");
    return 2;
  }
  lamina::bench::PlainPauses pauses(argv[1]);
  for (std::string memory_file; std::getline(std::cin, memory_file);) {
    const auto start = std::chrono::steady_clock::now();
    const auto done = pauses.pause(memory_file);
    if (!done) {
      fmt::print(stderr, "plain_pauses: {}\n", done.error().message);
      return 1;
    }
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    fmt::print("{:.3f}\n", took.count());
    std::fflush(stdout);
  }
  return 0;
}
