#include "remote/sandboxes.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

#include "lamina/ingest.h"
#include "lamina/inspect.h"
#include "lamina/materialize.h"
#include "lamina/remote.h"
#include "lamina/verify.h"
#include "object_store/blocking_store.h"
#include "object_store/directory_store.h"
#include "remote/contents.h"
#include "remote/pull.h"

namespace lamina::tests {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPage = 4096;
constexpr std::size_t kPages = 64;

std::string contents_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// Writes the pages that `written` names; the others are holes.
void write_memory_file(const fs::path& path, const std::string& memory,
                       const std::vector<bool>& written) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  ASSERT_GE(fd, 0);
  ASSERT_EQ(::ftruncate(fd, static_cast<off_t>(memory.size())), 0);
  for (std::size_t page = 0; page < written.size(); ++page) {
    if (!written[page]) continue;
    ASSERT_EQ(::pwrite(fd, &memory[page * kPage], kPage, static_cast<off_t>(page * kPage)),
              static_cast<ssize_t>(kPage));
  }
  ::fsync(fd);
  ::close(fd);
}

}  // namespace

std::string Sandboxes::store(const std::string& name) {
  const fs::path path = root() / name;
  fs::create_directories(path);
  return path.string();
}

std::string Sandboxes::bucket_directory() const { return (root() / "bucket").string(); }

std::unique_ptr<object_store::ObjectStore> Sandboxes::open_bucket() {
  fs::create_directories(bucket_directory());
  object_store::DirectoryOptions options;
  options.path = bucket_directory();
  auto opened = object_store::open_directory_store(options);
  EXPECT_TRUE(opened) << opened.error().message;
  return std::move(*opened);
}

std::string Sandboxes::random_text(std::size_t bytes) {
  std::string text(bytes, 0);
  for (char& c : text) c = static_cast<char>(random_());
  return text;
}

void Sandboxes::change_memory(std::string& memory, std::vector<bool>& written) {
  const std::size_t longest = 1 + random_() % 12;
  for (std::size_t page = 0; page < kPages;) {
    const std::size_t count = std::min(1 + random_() % longest, kPages - page);
    const auto action = random_() % 6;
    for (std::size_t i = page; i < page + count; ++i) {
      if (action == 0) memory.replace(i * kPage, kPage, random_text(kPage));
      if (action == 1) memory.replace(i * kPage, kPage, kPage, static_cast<char>(random_() % 3));
      written[i] = action <= 2;
    }
    page += count;
  }
}

LocalSandbox Sandboxes::pause(const std::string& store, const LocalSandbox* parent,
                              bool with_files) {
  LocalSandbox made;
  made.path = store + "/" + fresh_name();
  if (parent != nullptr) made.state = parent->state;
  SandboxState& state = made.state;
  state.memory.resize(kPages * kPage);
  std::vector<bool> written(kPages, parent == nullptr);
  change_memory(state.memory, written);
  if (parent == nullptr) written.assign(kPages, true);
  const fs::path memory_file = root() / "memory";
  write_memory_file(memory_file, state.memory, written);
  // Large ones are objects of their own.
  state.vmstate = random_text(1 + random_() % (random_() % 3 == 0 ? 200'000 : 9'000));
  std::ofstream(root() / "vmstate", std::ios::binary) << state.vmstate;
  IngestOptions options;
  options.memory_file = memory_file.string();
  options.snapshot = made.path;
  options.vmstate_file = (root() / "vmstate").string();
  options.zeros = Zeros::kWritten;
  if (parent != nullptr) options.parent = parent->path;
  const auto report = ingest(options);
  EXPECT_TRUE(report) << report.error().message;
  if (!report) return made;
  if (parent != nullptr) {
    state.ancestors.insert(parent->state.pause_id);
    state.parent = parent->state.pause_id;
  }
  state.pause_id = report->pause_id;
  if (!with_files) state.attached.clear();
  if (with_files && random_() % 2 == 0) {
    const std::size_t bytes = random_() % 3 == 0 ? 300'000 : random_() % 5'000;
    state.attached["disk" + std::to_string(random_() % 2)] = random_text(bytes);
  }
  for (const auto& [name, text] : state.attached) {
    std::ofstream(made.path + "/" + name, std::ios::binary) << text;
  }
  return made;
}

void Sandboxes::expect_state(const std::string& path, const SandboxState& expected,
                             const fs::path& scratch) {
  const fs::path out = scratch / ("out-" + Uuid::random().to_string());
  const auto report = materialize({.snapshot = path, .out = out.string()});
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_TRUE(contents_of(out) == expected.memory) << path << ": the memory differs";
  fs::remove(out);
  const auto info = inspect(path);
  ASSERT_TRUE(info) << info.error().message;
  EXPECT_EQ(info->pause_id, expected.pause_id);
  EXPECT_TRUE(contents_of(path + "/snapfile") == expected.vmstate) << path;
  for (const auto& [name, text] : expected.attached) {
    EXPECT_TRUE(contents_of(path + "/" + name) == text) << path << "/" << name;
  }
  VerifyOptions options;
  options.snapshot = path;
  const auto verified = lamina::verify(options);
  ASSERT_TRUE(verified) << verified.error().message;
  EXPECT_TRUE(verified->is_intact());
}

void Sandboxes::expect_newest(const std::string& name, const SandboxState& expected) {
  const auto bucket = open_bucket();
  PullOptions options;
  options.name = name;
  options.store = store("reader");
  options.as = fresh_name();
  const auto report = remote::pull(*bucket, options, nullptr);
  ASSERT_TRUE(report) << report.error().message;
  expect_state(report->snapshot, expected);
}

void Sandboxes::expect_nothing_left_over(std::optional<std::uint64_t> keep_last) {
  const auto bucket = open_bucket();
  PruneOptions options;
  options.keep_last = keep_last;
  remote::CollectSettings settings;
  settings.pin_lifetime = std::chrono::seconds(-1);
  const auto pruned = remote::prune(*bucket, options, settings);
  ASSERT_TRUE(pruned) << pruned.error().message;
  remote::Bucket store(*bucket);
  std::uint64_t other_keys = 0;
  const auto objects = remote::list_objects(store, other_keys);
  ASSERT_TRUE(objects) << objects.error().message;
  remote::RecordReader records(store);
  const auto references = remote::References::read(store, records);
  ASSERT_TRUE(references) << references.error().message;
  EXPECT_TRUE(references->pins().empty());
  for (const auto& [key, bytes] : *objects) EXPECT_TRUE(references->contains(key)) << key;
  const auto tombstones = remote::list_tombstones(store, other_keys);
  ASSERT_TRUE(tombstones) << tombstones.error().message;
  for (const auto& [object, tombstone] : *tombstones) {
    EXPECT_TRUE(objects->contains(object)) << tombstone;
  }
  EXPECT_EQ(other_keys, 0U);
}

}  // namespace lamina::tests
