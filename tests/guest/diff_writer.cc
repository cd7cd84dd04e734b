// Writes a paused guest's memory to a file, byte for byte and hole for hole as Firecracker does,
// and keeps the copy of the last pause that tells what has changed since.
//
//   full   every page is written, zeros included: the file has no holes
//   diff   a page that changed since the previous pause is written, *also when it is all zeros
//   now*;
//          everything else is a hole, the file's end too
//
// A real monitor learns from the dirty log which pages to write. Here a page is dirty when it
// differs from the copy, so a page that was written with what it held before is left out. That is
// the stricter test: nothing in the diff repeats the parent.
//
// Rejected: cp --sparse and friends. They turn written zeros into holes, which says "unchanged"
// where the guest said "cleared", and that difference is what the test is about.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kMaxWriteBytes = std::size_t{1} << 20;

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

constexpr char kUsage[] =
    "usage: diff_writer --ram FILE --previous FILE --out FILE --kind full|diff [--json]\n"
    "       diff_writer --compare FILE FILE [--json]\n"
    "\n"
    "Writes the memory file OUT from RAM, then makes PREVIOUS equal to RAM. OUT must\n"
    "not exist. --compare counts the pages in which two files of one size differ.\n"
    "Exit codes: 0 done (also when pages differ), 1 failed, 2 usage.\n";

[[noreturn]] void fail(const char* what, const std::string& path, const char* why) {
  std::fprintf(stderr, "diff_writer: %s '%s': %s\n", what, path.c_str(), why);
  std::exit(kExitFailed);
}

[[noreturn]] void fail_errno(const char* what, const std::string& path) {
  fail(what, path, std::strerror(errno));
}

[[noreturn]] void fail_usage(const std::string& why) {
  std::fprintf(stderr, "diff_writer: %s\n%s", why.c_str(), kUsage);
  std::exit(kExitUsage);
}

// An open file with its path, for messages. Closes on destruction.
class File {
 public:
  File(std::string path, int flags)
      : path_(std::move(path)), fd_(::open(path_.c_str(), flags | O_CLOEXEC, 0644)) {
    if (fd_ < 0) fail_errno("open", path_);
  }
  ~File() { ::close(fd_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] int fd() const { return fd_; }

  [[nodiscard]] std::size_t size_bytes() const {
    struct stat status{};
    if (::fstat(fd_, &status) != 0) fail_errno("fstat", path_);
    return static_cast<std::size_t>(status.st_size);
  }

  void truncate(std::size_t size_bytes) {
    if (::ftruncate(fd_, static_cast<off_t>(size_bytes)) != 0) fail_errno("ftruncate", path_);
  }

  void write_at(const std::byte* data, std::size_t size_bytes, std::size_t offset_bytes) {
    while (size_bytes > 0) {
      const ssize_t put = ::pwrite(fd_, data, std::min(size_bytes, kMaxWriteBytes),
                                   static_cast<off_t>(offset_bytes));
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) fail_errno("pwrite", path_);
      if (put == 0) fail("pwrite", path_, "nothing was written");
      const auto count = static_cast<std::size_t>(put);
      data += count;
      size_bytes -= count;
      offset_bytes += count;
    }
  }

  void sync() {
    if (::fsync(fd_) != 0) fail_errno("fsync", path_);
  }

 private:
  std::string path_;
  int fd_;
};

// A whole file, mapped shared and read-only: later writes to the file are seen.
class Mapping {
 public:
  explicit Mapping(const File& file) : size_bytes_(file.size_bytes()) {
    if (size_bytes_ == 0 || size_bytes_ % kPageBytes != 0) {
      fail("map", file.path(), "the size is not a positive multiple of 4096 bytes");
    }
    data_ = ::mmap(nullptr, size_bytes_, PROT_READ, MAP_SHARED, file.fd(), 0);
    if (data_ == MAP_FAILED) fail_errno("mmap", file.path());
  }
  ~Mapping() { ::munmap(data_, size_bytes_); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  [[nodiscard]] std::size_t size_bytes() const { return size_bytes_; }
  [[nodiscard]] std::size_t pages() const { return size_bytes_ / kPageBytes; }
  [[nodiscard]] const std::byte* page(std::size_t index) const {
    return static_cast<const std::byte*>(data_) + index * kPageBytes;
  }

 private:
  std::size_t size_bytes_;
  void* data_ = nullptr;
};

bool same_page(const std::byte* a, const std::byte* b) {
  return std::memcmp(a, b, kPageBytes) == 0;
}

bool is_zero_page(const std::byte* page) {
  static constexpr std::byte kZeros[kPageBytes] = {};
  return same_page(page, kZeros);
}

struct PageRun {
  std::size_t first_page;
  std::size_t pages;
};

struct Changes {
  std::vector<PageRun> runs;  // ascending, not touching each other
  std::size_t dirty_pages = 0;
  std::size_t cleared_pages = 0;  // had data at the previous pause, all zeros now
};

Changes find_changes(const Mapping& ram, const Mapping& previous) {
  Changes changes;
  for (std::size_t i = 0; i < ram.pages(); ++i) {
    if (same_page(ram.page(i), previous.page(i))) continue;
    ++changes.dirty_pages;
    if (is_zero_page(ram.page(i))) ++changes.cleared_pages;
    if (!changes.runs.empty() && changes.runs.back().first_page + changes.runs.back().pages == i) {
      ++changes.runs.back().pages;
    } else {
      changes.runs.push_back({i, 1});
    }
  }
  return changes;
}

void write_runs(const Mapping& ram, const std::vector<PageRun>& runs, File& file) {
  for (const PageRun& run : runs) {
    file.write_at(ram.page(run.first_page), run.pages * kPageBytes, run.first_page * kPageBytes);
  }
}

struct Options {
  std::string ram;
  std::string previous;
  std::string out;
  std::string kind;
  std::optional<std::pair<std::string, std::string>> compare;
  bool json = false;
};

int write_memory_file(const Options& options) {
  const bool full = options.kind == "full";
  const Mapping ram(File(options.ram, O_RDONLY));
  const std::vector<PageRun> all_pages = {{0, ram.pages()}};

  File previous_file(options.previous, full ? O_RDWR | O_CREAT : O_RDWR);
  const bool first_pause = full && previous_file.size_bytes() == 0;
  if (!first_pause && previous_file.size_bytes() != ram.size_bytes()) {
    fail("read", options.previous, "its size is not that of the RAM file");
  }
  Changes changes;
  if (first_pause) {
    changes.runs = all_pages;
    previous_file.truncate(ram.size_bytes());
  } else {
    const Mapping previous(previous_file);
    changes = find_changes(ram, previous);
  }
  if (full) changes.dirty_pages = ram.pages();

  File out(options.out, O_WRONLY | O_CREAT | O_EXCL);
  out.truncate(ram.size_bytes());
  write_runs(ram, full ? all_pages : changes.runs, out);
  out.sync();
  // Only now: if the memory file could not be written, the copy must still be the last pause's.
  write_runs(ram, changes.runs, previous_file);

  std::printf(options.json ? "{\"pages\":%zu,\"dirty_pages\":%zu,\"cleared_pages\":%zu}\n"
                           : "%zu pages, %zu dirty, %zu cleared\n",
              ram.pages(), changes.dirty_pages, changes.cleared_pages);
  return 0;
}

int compare_files(const Options& options) {
  const auto& [path_a, path_b] = *options.compare;
  const Mapping a(File(path_a, O_RDONLY));
  const Mapping b(File(path_b, O_RDONLY));
  if (a.size_bytes() != b.size_bytes()) fail("compare", path_a, "the files differ in size");
  std::size_t different_pages = 0;
  std::optional<std::size_t> first_page;
  for (std::size_t i = 0; i < a.pages(); ++i) {
    if (same_page(a.page(i), b.page(i))) continue;
    ++different_pages;
    if (!first_page) first_page = i;
  }
  const std::string first = first_page ? std::to_string(*first_page) : "null";
  std::printf(options.json ? "{\"different_pages\":%zu,\"first_different_page\":%s}\n"
                           : "%zu pages differ, first: %s\n",
              different_pages, first.c_str());
  return 0;
}

Options parse(int argc, char** argv) {
  Options options;
  const std::vector<std::string> words(argv + 1, argv + argc);
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    const auto value = [&]() -> std::string {
      if (i + 1 >= words.size()) fail_usage("'" + word + "' needs a value");
      return words[++i];
    };
    if (word == "--help") {
      std::fputs(kUsage, stdout);
      std::exit(0);
    } else if (word == "--json") {
      options.json = true;
    } else if (word == "--ram") {
      options.ram = value();
    } else if (word == "--previous") {
      options.previous = value();
    } else if (word == "--out") {
      options.out = value();
    } else if (word == "--kind") {
      options.kind = value();
    } else if (word == "--compare") {
      std::string first = value();
      options.compare.emplace(std::move(first), value());
    } else {
      fail_usage("unknown argument '" + word + "'");
    }
  }
  if (options.compare) return options;
  if (options.ram.empty() || options.previous.empty() || options.out.empty()) {
    fail_usage("--ram, --previous and --out are needed");
  }
  if (options.kind != "full" && options.kind != "diff") {
    fail_usage("--kind must be full or diff, not '" + options.kind + "'");
  }
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  return options.compare ? compare_files(options) : write_memory_file(options);
}
