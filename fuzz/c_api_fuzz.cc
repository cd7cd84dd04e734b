// Sequences of calls of the C interface, as a program with mistakes makes them: handles that are
// null, closed, of another kind or no handles at all, options of any size with any numbers, null
// pointers, results that are freed twice. Nothing may crash or leak, every failure has its error,
// and in the end the snapshot that no call can name is as it was.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "c_api_pointers.h"
#include "check.h"
#include "lamina.h"

namespace {

using lamina::fuzz::check;
namespace fs = std::filesystem;

/// A store with one snapshot, in memory, for as long as the process lives.
class Scene {
 public:
  Scene() : root_("/dev/shm/lamina-fuzz-c-" + std::to_string(::getpid())) {
    fs::remove_all(root_);
    fs::create_directories(root_ + "/store");
    fs::create_directories(root_ + "/bucket");
    std::ofstream(root_ + "/memory").write(memory_.data(), std::ssize(memory_));
    check(lamina_store_open(path("store"), &store_, nullptr) == LAMINA_OK);
    lamina_ingest_options options{};
    options.struct_size = sizeof options;
    options.memory = memory_.data();
    options.memory_bytes = memory_.size();
    options.snapshot = "kept";
    check(lamina_ingest(store_, &options, nullptr, nullptr) == LAMINA_OK);
    check(lamina_reader_open(store_, "kept", &reader_, nullptr) == LAMINA_OK);
    check(lamina_progress_open(&progress_, nullptr) == LAMINA_OK);
    check(lamina_store_open(path("store"), &closed_store_, nullptr) == LAMINA_OK);
    check(lamina_store_close(closed_store_) == LAMINA_OK);
  }
  Scene(const Scene&) = delete;
  Scene& operator=(const Scene&) = delete;
  Scene(Scene&&) = delete;
  Scene& operator=(Scene&&) = delete;
  ~Scene() {
    lamina_progress_close(progress_);
    lamina_reader_close(reader_);
    lamina_store_close(store_);
    fs::remove_all(root_);
  }

  /// A path that lives as long as the scene.
  const char* path(const char* name) {
    paths_.push_back(std::make_unique<std::string>(root_ + "/" + name));
    return paths_.back()->c_str();
  }

  [[nodiscard]] lamina_store* store() const { return store_; }
  [[nodiscard]] lamina_store* closed_store() const { return closed_store_; }
  [[nodiscard]] lamina_reader* reader() const { return reader_; }
  [[nodiscard]] lamina_progress* progress() const { return progress_; }
  [[nodiscard]] const std::string& memory() const { return memory_; }

  /// Removes all that calls have made.
  void tidy() const {
    for (const auto& entry : fs::directory_iterator(root_ + "/store")) {
      const std::string name = entry.path().filename();
      if (name != "kept" && !name.starts_with('.')) fs::remove_all(entry.path());
    }
    // Pulls that were begun: what they lack was in the bucket.
    if (fs::exists(root_ + "/store/.arriving")) {
      for (const auto& entry : fs::directory_iterator(root_ + "/store/.arriving")) {
        fs::remove_all(entry.path());
      }
    }
    fs::remove_all(root_ + "/out");
    fs::remove_all(root_ + "/nothing");
    fs::remove_all(root_ + "/memory");  // if it was not adopted
    std::ofstream(root_ + "/memory").write(memory_.data(), std::ssize(memory_));
    if (!fs::is_empty(root_ + "/bucket")) {
      fs::remove_all(root_ + "/bucket");
      fs::create_directory(root_ + "/bucket");
    }
  }

  void expect_kept() const {
    std::string read(memory_.size(), '\0');
    check(lamina_reader_read(reader_, 0, read.data(), read.size(), nullptr) == LAMINA_OK);
    check(read == memory_);
  }

 private:
  std::string root_;
  std::string memory_ = std::string(2 * 4096, 'm') + std::string(4096, '\0');
  std::vector<std::unique_ptr<std::string>> paths_;
  lamina_store* store_ = nullptr;
  lamina_store* closed_store_ = nullptr;
  lamina_reader* reader_ = nullptr;
  lamina_progress* progress_ = nullptr;
};

class Calls {
 public:
  Calls(Scene& scene, std::span<const std::uint8_t> input) : scene_(scene), input_(input) {
    static const std::array<const char*, 4> paths{scene.path("memory"), scene.path("out"),
                                                  scene.path("store/kept"), scene.path("nothing")};
    static const std::string bucket = std::string("file://") + scene.path("bucket");
    texts_ = {nullptr, "",         "a",   "b",      "a",       ".tmp",
              "..",    "\xff\x01", "a/b", "tiered", "file://", bucket.c_str()};
    texts_.insert(texts_.end(), paths.begin(), paths.end());
    files_ = {nullptr, ""};
    files_.insert(files_.end(), paths.begin(), paths.end());
  }

  [[nodiscard]] bool is_used_up() const { return input_.empty(); }

  void call_one() {
    switch (number() % 30) {
      case 0:
        return with_options<lamina_ingest_options, lamina_ingest_report>(lamina_ingest);
      case 1:
        return with_options<lamina_merge_options, lamina_merge_report>(lamina_merge);
      case 2:
        return with_options<lamina_compact_options, lamina_compact_report>(lamina_compact);
      case 3:
        return with_options<lamina_materialize_options, lamina_materialize_report>(
            lamina_materialize);
      case 4:
        return with_options<lamina_verify_options, lamina_verify_report>(lamina_verify);
      case 5:
        return with_options<lamina_list_options, lamina_listing>(lamina_list);
      case 6:
        return with_options<lamina_fork_options, lamina_fork_report>(lamina_fork);
      case 7:
        return with_options<lamina_pause_options, lamina_pause_report>(lamina_pause);
      case 8:
        return with_options<lamina_resume_options, lamina_resume_report>(lamina_resume);
      case 9:
        return with_options<lamina_recover_options, lamina_recover_report>(lamina_recover);
      case 10:
        return with_options<lamina_pack_options, lamina_pack_report>(lamina_pack);
      case 11:
        return with_options<lamina_unpack_options, lamina_unpack_report>(lamina_unpack);
      case 12:
        return with_options<lamina_push_options, lamina_push_report>(lamina_push);
      case 13:
        return with_options<lamina_pull_options, lamina_pull_report>(lamina_pull);
      case 14:
        return without_store<lamina_remote_list_options, lamina_remote_list_report>(
            lamina_remote_list);
      case 15:
        return without_store<lamina_prune_options, lamina_prune_report>(lamina_prune);
      case 16:
        return without_store<lamina_remote_remove_options, lamina_remote_remove_report>(
            lamina_remote_remove);
      case 17:
        return with_options<lamina_remove_options, lamina_remove_report>(lamina_remove);
      case 18:
        return with_name<lamina_repair_report>(lamina_repair);
      case 19:
        return with_name<lamina_snapshot_info>(lamina_inspect);
      case 20:
        return open_and_close();
      case 21:
        return read();
      case 22:
        return add_up();
      case 23:
        return with_options<lamina_live_fork_options, lamina_live_fork_report>(lamina_live_fork);
      case 24:
        return with_options<lamina_begin_pull_options, lamina_begin_pull_report>(lamina_begin_pull);
      case 25:
        return without_store<lamina_remote_key_list_options, lamina_remote_key_list_report>(
            lamina_remote_key_list);
      case 26:
        return without_store<lamina_remote_key_rotate_options, lamina_remote_key_rotate_report>(
            lamina_remote_key_rotate);
      case 27:
        return without_store<lamina_remote_key_destroy_options, lamina_remote_key_destroy_report>(
            lamina_remote_key_destroy);
      case 28:
        return with_options<lamina_fetch_options, lamina_fetch_report>(lamina_fetch_arriving);
      default:
        return get_progress();
    }
  }

 private:
  std::uint8_t number() {
    if (input_.empty()) return 0;
    const std::uint8_t first = input_.front();
    input_ = input_.subspan(1);
    return first;
  }
  const char* text() { return texts_[number() % texts_.size()]; }
  /// For what is written or moved: nothing in the working directory.
  const char* file() { return files_[number() % files_.size()]; }

  template <typename Handle>
  Handle* handle(Handle* open) {
    switch (number() % 8) {
      case 0:
        return nullptr;
      case 1:
        return reinterpret_cast<Handle*>(scene_.closed_store());
      case 2:
        return reinterpret_cast<Handle*>(scene_.reader());
      case 3:
        return reinterpret_cast<Handle*>(scene_.progress());
      case 4:
        return reinterpret_cast<Handle*>(static_cast<std::uintptr_t>(number()));
      default:
        return open;
    }
  }

  /// Fills what follows struct_size: small numbers, and now and then any. Pointers are null: what
  /// leads nowhere is undefined behaviour of the caller.
  template <typename Struct>
  void fill(Struct& options) {
    const auto bytes = std::as_writable_bytes(std::span(&options, 1));
    for (std::size_t i = sizeof(std::size_t); i + 4 <= bytes.size(); i += 4) {
      const std::uint8_t choice = number();
      const std::uint32_t value = choice < 200 ? choice % 4 / 3 : 0x0101'0101U * choice;
      std::memcpy(&bytes[i], &value, sizeof value);
    }
    clear_pointers(options);
  }

  void point(lamina_ingest_options& o) {
    o.memory_file = file(), o.snapshot = text(), o.parent = text(), o.vmstate_file = text();
    o.memory = number() % 2 == 0 ? nullptr : scene_.memory().data();
    if (o.memory != nullptr) o.memory_bytes %= scene_.memory().size() + 1;
    o.build_id = number() % 4 == 0 ? &id_ : nullptr;
    o.memory_fd = -1;  // other numbers could be descriptors of the fuzzer's
    o.progress = handle(scene_.progress());
  }
  void point(lamina_merge_options& o) {
    o.snapshot = text(), o.out = text();
    o.only_build = number() % 4 == 0 ? &id_ : nullptr;
    o.progress = handle(scene_.progress());
  }
  void point(lamina_compact_options& o) {
    o.snapshot = text(), o.policy = text(), o.progress = handle(scene_.progress());
    o.background = 0;
  }
  void point(lamina_materialize_options& o) {
    o.snapshot = text(), o.out = file(), o.progress = handle(scene_.progress());
  }
  void point(lamina_verify_options& o) {
    o.snapshot = text(), o.against = text(), o.progress = handle(scene_.progress());
  }
  void point(lamina_list_options& o) { o.path = file(); }
  void point(lamina_fork_options& o) {
    o.snapshot = text(), o.fork = text(), o.progress = handle(scene_.progress());
  }
  void point(lamina_remove_options& o) {
    // Not the snapshot that is kept.
    static const std::array<const char*, 4> names{"a", nullptr, "..", "b"};
    o.snapshots = number() % 4 == 0 ? nullptr : &names[number() % 4];
    if (o.snapshots != nullptr) o.snapshot_count = 1;
    o.pause_id = number() % 4 == 0 ? &id_ : nullptr;
    o.progress = handle(scene_.progress());
  }
  void point(lamina_vmm& o) { o.api_socket = text(), o.jail = text(); }
  template <typename Options>
  void point_vm(Options& o) {
    if (number() % 4 != 0) {
      vmm_ = {};
      fill(vmm_);
      point(vmm_);
      vmm_.struct_size = number() % 4 == 0 ? number() : sizeof vmm_;
      if (vmm_.struct_size > sizeof vmm_) vmm_.struct_size = 1;
      o.vmm = &vmm_;
    }
    o.name = text(), o.progress = handle(scene_.progress());
  }
  void point(lamina_pause_options& o) {
    point_vm(o);
    o.pause_id = number() % 4 == 0 ? &id_ : nullptr;
  }
  void point(lamina_resume_options& o) {
    point_vm(o);
    o.vsock_override = text(), o.serial_override = text(), o.console_override = text();
    o.mmds = file();
  }
  void point(lamina_live_fork_options& o) {
    if (number() % 4 != 0) {
      pause_ = {};
      fill(pause_);
      point(pause_);
      pause_.struct_size = number() % 4 == 0 ? number() % sizeof pause_ : sizeof pause_;
      o.pause = &pause_;
    }
    if (number() % 4 == 0) {
      resume_ = {};
      fill(resume_);
      resume_.vmm = number() % 4 == 0 ? &vmm_ : nullptr;
      resume_.name = number() % 4 == 0 ? "a" : nullptr;
      resume_.vsock_override = text(), resume_.mmds = file();
      resume_.progress = handle(scene_.progress());
      resume_.struct_size = number() % 4 == 0 ? number() % sizeof resume_ : sizeof resume_;
      o.resume = &resume_;
    }
    if (number() % 4 == 0) return;
    clones_ = {&vmm_, number() % 4 == 0 ? nullptr : &clone_};
    clone_.struct_size = number() % 4 == 0 ? 1 : sizeof clone_;
    clone_.api_socket = text();
    o.clones = clones_.data(), o.clone_count = number() % (clones_.size() + 1);
  }
  void point(lamina_recover_options& o) {
    o.give_up = number() % 4 == 0 ? &id_ : nullptr;
    if (o.give_up != nullptr) o.give_up_count = 1;
    o.adopt_store = 0;
    o.progress = handle(scene_.progress());
  }
  void point(lamina_pack_options& o) {
    o.snapshot = text(), o.out = file(), o.key_file = text();
    o.progress = handle(scene_.progress());
  }
  void point(lamina_unpack_options& o) {
    o.file = text(), o.snapshot = text(), o.key_file = text();
    o.progress = handle(scene_.progress());
  }
  void point(lamina_push_options& o) {
    o.url = text(), o.snapshot = text(), o.name = text(), o.key_file = text();
    o.progress = handle(scene_.progress());
    o.background = 0;  // it would stay so
  }
  void point(lamina_pull_options& o) {
    o.url = text(), o.name = text(), o.as = text(), o.key_file = text();
    o.progress = handle(scene_.progress());
  }
  void point(lamina_begin_pull_options& o) {
    o.url = text(), o.name = text(), o.as = text(), o.key_file = text();
    o.progress = handle(scene_.progress());
  }
  void point(lamina_fetch_options& o) { o.progress = handle(scene_.progress()); }
  void point(lamina_remote_key_list_options& o) {
    o.url = text(), o.key_file = text(), o.progress = handle(scene_.progress());
  }
  void point(lamina_remote_key_rotate_options& o) {
    o.url = text(), o.pattern = text(), o.old_key_file = file(), o.key_file = file();
    o.progress = handle(scene_.progress());
  }
  void point(lamina_remote_key_destroy_options& o) {
    o.url = text(), o.key_id = text(), o.progress = handle(scene_.progress());
  }
  void point(lamina_remote_list_options& o) {
    o.url = text(), o.progress = handle(scene_.progress());
  }
  void point(lamina_remote_remove_options& o) {
    o.url = text(), o.name = text(), o.progress = handle(scene_.progress());
  }
  void point(lamina_prune_options& o) {
    o.url = text(), o.pattern = text(), o.progress = handle(scene_.progress());
  }

  /// Calls `use` with options of any size, in a buffer of exactly that size.
  template <typename Options, typename Use>
  void with_any(Use use) {
    constexpr std::size_t kAdded = 16;  // of a newer program
    Options options{};
    fill(options);
    point(options);
    std::size_t size = sizeof options;
    const std::uint8_t choice = number();
    if (choice < 60) size = choice % (sizeof options + kAdded);
    std::vector<std::byte> buffer(std::max(size, sizeof size));
    std::memcpy(buffer.data(), &options, std::min(buffer.size(), sizeof options));
    if (choice % 3 == 0 && size > sizeof options) buffer.back() = std::byte{1};
    if (choice == 60) size = SIZE_MAX;
    std::memcpy(buffer.data(), &size, sizeof size);
    use(choice == 61 ? nullptr : reinterpret_cast<const Options*>(buffer.data()));
  }

  /// Each failure has its error, and no success has one.
  template <typename Report, typename Call>
  void expect_outcome(Call call) {
    const lamina_error* error = nullptr;
    const Report* report = nullptr;
    const bool wants_report = number() % 4 != 0;
    const bool wants_error = number() % 4 != 0;
    const lamina_code code = call(wants_report ? &report : nullptr, wants_error ? &error : nullptr);
    check(code >= LAMINA_OK && code <= LAMINA_INTERRUPTED);
    check((code == LAMINA_OK && wants_report) == (report != nullptr));
    check((code != LAMINA_OK && wants_error) == (error != nullptr));
    if (error != nullptr) check(error->code == code && error->message[0] != '\0');
    if (report != nullptr) check(report->struct_size == sizeof *report);
    lamina_free(error);
    lamina_free(report);
    if (number() % 4 == 0) lamina_free(report);
  }

  template <typename Options, typename Report, typename Function>
  void with_options(Function function) {
    lamina_store* store = handle(scene_.store());
    with_any<Options>([&](const Options* options) {
      expect_outcome<Report>(
          [&](auto** report, auto** error) { return function(store, options, report, error); });
    });
  }
  template <typename Options, typename Report, typename Function>
  void without_store(Function function) {
    with_any<Options>([&](const Options* options) {
      expect_outcome<Report>(
          [&](auto** report, auto** error) { return function(options, report, error); });
    });
  }
  template <typename Report, typename Function>
  void with_name(Function function) {
    lamina_store* store = handle(scene_.store());
    const char* name = text();
    expect_outcome<Report>(
        [&](auto** report, auto** error) { return function(store, name, report, error); });
  }

  void open_and_close() {
    lamina_reader* reader = nullptr;
    const lamina_code code = lamina_reader_open(handle(scene_.store()), text(), &reader, nullptr);
    check((code == LAMINA_OK) == (reader != nullptr));
    check(lamina_reader_close(reader) == LAMINA_OK);
    check((lamina_reader_close(reader) == LAMINA_USAGE) == (reader != nullptr));
    check(lamina_store_close(reinterpret_cast<lamina_store*>(scene_.reader())) == LAMINA_USAGE);
  }

  void read() {
    std::vector<char> buffer(number());
    const std::uint64_t offset = number() < 200 ? 64U * number() : UINT64_MAX - number();
    const lamina_code code =
        lamina_reader_read(handle(scene_.reader()), offset,
                           number() % 8 == 0 ? nullptr : buffer.data(), buffer.size(), nullptr);
    if (code != LAMINA_OK || buffer.empty()) return;
    check(offset + buffer.size() <= scene_.memory().size());
  }

  void add_up() {
    const lamina_listing* listing = nullptr;
    check(lamina_list(scene_.store(), nullptr, &listing, nullptr) == LAMINA_OK);
    const std::array<std::size_t, 2> indices{number() % std::size_t{4}, 0};
    const bool is_freed = number() % 2 == 0;
    const bool is_valid = !is_freed && indices[0] < listing->snapshot_count;
    if (is_freed) lamina_free(listing);
    check((lamina_freed_by_removing(listing, indices.data(), 2, nullptr, nullptr) == LAMINA_OK) ==
          is_valid);
    lamina_free(listing);
  }

  void get_progress() {
    std::vector<std::byte> buffer(sizeof(std::size_t) + number());
    const std::size_t size = number() % 8 == 0 ? 0 : buffer.size();
    std::memcpy(buffer.data(), &size, sizeof size);
    lamina_progress_get(handle(scene_.progress()),
                        reinterpret_cast<lamina_progress_state*>(buffer.data()), nullptr);
  }

  Scene& scene_;
  std::span<const std::uint8_t> input_;
  std::vector<const char*> texts_;
  std::vector<const char*> files_;
  lamina_uuid id_{{1}};
  lamina_vmm vmm_{};
  lamina_vmm clone_{};
  lamina_pause_options pause_{};
  lamina_resume_options resume_{};
  std::array<const lamina_vmm*, 2> clones_{};
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr int kMaxCalls = 8;
  static Scene scene;
  Calls calls(scene, std::span(data, size));
  for (int i = 0; i < kMaxCalls && !calls.is_used_up(); ++i) calls.call_one();
  scene.expect_kept();
  scene.tidy();
  return 0;
}
