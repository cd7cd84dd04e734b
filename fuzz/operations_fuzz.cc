// Sequences of operations on a store of small snapshots, against plain arrays of pages: after each
// operation the snapshot that it is about is read back and compared byte for byte, its VM state and
// working set too, what must be refused is refused, and in the end every snapshot has its memory
// and nothing else is left. Some snapshots are made what the original program would have written.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/block.h"
#include "base/bytes.h"
#include "check.h"
#include "format/header_codec.h"
#include "format/working_set.h"
#include "lamina/compact.h"
#include "lamina/fork.h"
#include "lamina/ingest.h"
#include "lamina/listing.h"
#include "lamina/materialize.h"
#include "lamina/merge.h"
#include "lamina/remove.h"
#include "lamina/repair.h"
#include "lamina/verify.h"
#include "store/snapshot_directory.h"

namespace {

using namespace lamina;
using fuzz::check;
namespace fs = std::filesystem;

/// Whole blocks; what is past `size` is zeros.
struct Memory {
  std::uint64_t size = 0;
  std::vector<std::byte> bytes;

  explicit Memory(std::uint64_t size_bytes = 0)
      : size(size_bytes), bytes(blocks_for(size_bytes) * kBlockBytes) {}
  [[nodiscard]] std::uint32_t blocks() const {
    return static_cast<std::uint32_t>(bytes.size() / kBlockBytes);
  }
  std::span<std::byte> block(std::uint32_t index) {
    return std::span(bytes).subspan(index * kBlockBytes, kBlockBytes);
  }
  /// What a file has of a block: the last one may be short.
  std::span<std::byte> part(std::uint32_t index) {
    return block(index).first(std::min(kBlockBytes, size - index * kBlockBytes));
  }
};

/// What must be found in a snapshot.
struct State {
  Memory memory;
  std::vector<std::byte> vmstate;      ///< empty: there is none
  std::vector<std::byte> working_set;  ///< empty: there is none
  bool has_checksums = true;           ///< each of its layers has a trailer
};

/// Not byte by byte: each comparison that is compiled here is traced.
bool is_equal(std::span<const std::byte> a, std::span<const std::byte> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size()) == 0;
}

/// Of at most one block.
bool is_zero(std::span<const std::byte> bytes) {
  static const std::vector<std::byte> zeros(kBlockBytes);
  return is_equal(bytes, std::span(zeros).first(bytes.size()));
}

/// Reads small numbers off the input, zeros when it is used up.
class Input {
 public:
  explicit Input(std::span<const std::byte> bytes) : reader_(bytes) {}
  std::uint32_t number(std::uint32_t limit) { return reader_.get<std::uint8_t>() % limit; }
  bool one_in(std::uint32_t count) { return number(count) == count - 1; }
  [[nodiscard]] bool is_used_up() const { return reader_.remaining() == 0; }

 private:
  ByteReader reader_;
};

/// A directory of its own in memory, for as long as the process lives.
struct Place {
  Place() : root("/dev/shm/lamina-fuzz-store-" + std::to_string(::getpid())) {
    fs::remove_all(root);
    fs::create_directories(root + "/store");
  }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  Place(Place&&) = delete;
  Place& operator=(Place&&) = delete;
  ~Place() { fs::remove_all(root); }

  std::string root;
};

class World {
 public:
  World(Input& input, std::string root)
      : input_(input), root_(std::move(root)), size_(any_size()) {}
  World(const World&) = delete;
  World& operator=(const World&) = delete;
  World(World&&) = delete;
  World& operator=(World&&) = delete;
  ~World() {
    for (const auto& entry : fs::directory_iterator(root_)) {
      if (entry.is_regular_file()) fs::remove(entry.path());
    }
    for (const auto& entry : fs::directory_iterator(root_ + "/store")) {
      if (!entry.path().filename().string().starts_with('.')) fs::remove_all(entry.path());
    }
  }

  void operate() {
    switch (input_.number(17)) {
      case 0:
      case 1:
        return ingest_full();
      case 2:
      case 3:
      case 4:
      case 5:
        return ingest_on_parent();
      case 6:
      case 7:
        return merge_layers();
      case 8:
        return compact_by_policy();
      case 9:
        return write_as_file();
      case 10:
        return lose_and_repair();
      case 11:
        return remove_some();
      case 12:
        return fork();
      case 13:
        return make_foreign();
      case 14:
      case 15:
        return record_working_set();
      default:
        return damage();
    }
  }

  void expect_all() {
    const auto paths = snapshots_of(root_ + "/store");
    check(paths.has_value());
    std::set<std::string> expected;
    for (const auto& [name, state] : snapshots_) {
      expected.insert(path_of(name));
      expect(name);
    }
    check(std::set<std::string>(paths->begin(), paths->end()) == expected);
    for (const char* area : {"/store/.tmp", "/store/.pending"}) {
      check(!fs::exists(root_ + area) || fs::is_empty(root_ + area));
    }
  }

 private:
  std::string any_name() { return {static_cast<char>('a' + input_.number(4))}; }
  [[nodiscard]] std::string path_of(const std::string& name) const {
    return root_ + "/store/" + name;
  }
  [[nodiscard]] bool has(const std::string& name) const { return snapshots_.contains(name); }

  /// Small ones most of the time; half of them have a last block that is not whole.
  std::uint64_t any_size() {
    const std::uint64_t blocks = 1 + (input_.one_in(4) ? input_.number(64) : input_.number(8));
    return blocks * kBlockBytes - (input_.one_in(2) ? 1 + input_.number(255) * 16U : 0);
  }

  /// The error is of `kind`.
  template <typename T>
  static void expect_refusal(const Result<T>& result, ErrorKind kind) {
    check(!result.has_value());
    if (result.error().kind != kind) std::fprintf(stderr, "%s\n", result.error().message.c_str());
    check(result.error().kind == kind);
    check(!result.error().message.empty());
  }
  template <typename T>
  static void expect_success(const Result<T>& result) {
    if (!result) std::fprintf(stderr, "%s\n", result.error().message.c_str());
    check(result.has_value());
  }
  static void expect_no_notes(const std::vector<std::string>& notes) {
    if (!notes.empty()) std::fprintf(stderr, "%s\n", notes.front().c_str());
    check(notes.empty());
  }

  /// Reads the snapshot back; nothing when its checksums do not let it be read.
  std::optional<std::vector<std::byte>> read(const std::string& name) {
    const auto snapshot = store::open_snapshot(path_of(name));
    if (!snapshot) return std::nullopt;
    check(snapshot->header.memory_bytes == snapshots_.at(name).memory.size);
    std::vector<std::byte> bytes(snapshots_.at(name).memory.bytes.size());
    if (!snapshot->chain.read(0, bytes, engine::Chain::Check::kChecksums)) return std::nullopt;
    return bytes;
  }
  void expect(const std::string& name) {
    const auto bytes = read(name);
    check(bytes.has_value());
    const State& state = snapshots_.at(name);
    check(is_equal(*bytes, state.memory.bytes));
    expect_extra(path_of(name) + "/" + store::kVmstateName, state.vmstate);
    expect_extra(path_of(name) + "/" + store::kWorkingSetName, state.working_set);
  }
  static void expect_extra(const std::string& path, std::span<const std::byte> expected) {
    check(fs::exists(path) != expected.empty());
    if (!expected.empty()) check(is_equal(contents_of(path), expected));
  }

  /// What one memory file says, and what becomes of the memory that it is over.
  struct MemoryFile {
    Memory written;  ///< the file's bytes, holes as zeros
    Memory full;     ///< the memory when it is a full file
    Memory diff;     ///< the memory when it is a diff, and its zeros are zeros
    Memory inherit;  ///< the memory when it is a diff, and its zeros say nothing
    bool has_hole = false;
    bool clears_data = false;  ///< has zeros where the base has data
  };

  void fill(std::span<std::byte> part) {
    std::memset(part.data(), static_cast<int>(input_.number(3)), part.size());
    part[std::min<std::size_t>(input_.number(256) * 16U, part.size() - 1)] =
        static_cast<std::byte>(input_.number(4));
  }

  MemoryFile write_memory_file(const Memory& base) {
    MemoryFile file{Memory(base.size), Memory(base.size), base, base};
    const int fd = ::open(memory_path().c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    check(fd >= 0 && ::ftruncate(fd, static_cast<off_t>(base.size)) == 0);
    for (std::uint32_t block = 0; block < base.blocks();) {
      const auto state = input_.number(4);
      const std::uint32_t end = std::min(block + 1 + input_.number(16), base.blocks());
      for (; block < end; ++block) {
        if (state == 0) {
          file.has_hole = true;
          continue;
        }
        const auto part = file.written.part(block);
        if (state == 1) fill(part);
        if (state == 2) std::ranges::copy(Memory(base).part(block), part.begin());
        check(::pwrite(fd, part.data(), part.size(), static_cast<off_t>(block * kBlockBytes)) ==
              static_cast<ssize_t>(part.size()));
        add(file, block);
      }
    }
    check(::close(fd) == 0);
    return file;
  }

  static void add(MemoryFile& file, std::uint32_t block) {
    const auto part = file.written.part(block);
    const bool zero = is_zero(part);
    file.clears_data = file.clears_data || (zero && !is_zero(file.diff.part(block)));
    std::ranges::copy(part, file.full.part(block).begin());
    std::ranges::copy(part, file.diff.part(block).begin());
    if (!zero) std::ranges::copy(part, file.inherit.part(block).begin());
  }

  [[nodiscard]] std::string memory_path() const { return root_ + "/memory"; }

  IngestOptions any_options(const std::string& name) {
    constexpr Layout kLayouts[] = {Layout::kCompact, Layout::kAdopted, Layout::kAuto};
    IngestOptions options;
    options.memory_file = memory_path();
    options.snapshot = path_of(name);
    options.layout = kLayouts[input_.number(3)];
    const auto flags = input_.number(16);
    options.consume = (flags & 1U) != 0;
    options.replace = (flags & 2U) != 0;
    if (flags >= 12) options.header = HeaderFormat::kV1;
    if (input_.one_in(4)) {
      const std::vector<std::byte> vmstate(1 + input_.number(64), std::byte{0x5a});
      options.vmstate_file = root_ + "/vmstate";
      replace_file(*options.vmstate_file, vmstate);
    }
    return options;
  }

  /// A memory file is where it was, unless it was taken.
  void expect_memory_file(const Memory& written, bool taken) {
    check(fs::exists(memory_path()) == !taken);
    if (taken) return;
    expect_file(memory_path(), written);
    fs::remove(memory_path());
  }

  static void expect_file(const std::string& path, const Memory& memory) {
    std::vector<std::byte> bytes(memory.size + 1);
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    check(fd >= 0);
    check(::read(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(memory.size));
    ::close(fd);
    check(
        is_equal(std::span(bytes).first(memory.size), std::span(memory.bytes).first(memory.size)));
  }

  void expect_ingested(const IngestOptions& options, const std::string& name,
                       const MemoryFile& file, const Memory& memory, const State* parent) {
    const auto report = ingest(options);
    expect_success(report);
    expect_no_notes(report->notes);
    check(report->layout == Layout::kAdopted || report->layout == Layout::kCompact);
    check(options.layout == Layout::kAuto || report->layout == options.layout);
    expect_memory_file(file.written, options.consume || report->layout == Layout::kAdopted);
    State state;
    if (parent != nullptr) state = *parent;  // its working set, and layers without trailers
    state.memory = memory;
    state.vmstate.clear();
    if (options.vmstate_file) state.vmstate = contents_of(*options.vmstate_file);
    snapshots_[name] = std::move(state);
    expect(name);
  }

  void ingest_full() {
    const std::string name = any_name();
    if (input_.one_in(4)) size_ = any_size();
    const IngestOptions options = any_options(name);
    const MemoryFile file = write_memory_file(Memory(size_));
    if (!has(name) || options.replace)
      return expect_ingested(options, name, file, file.full, nullptr);
    expect_refusal(ingest(options), ErrorKind::kExists);
    expect_memory_file(file.written, false);
    expect(name);
  }

  void ingest_on_parent() {
    constexpr Zeros kZeros[] = {Zeros::kWritten, Zeros::kUnspecified, Zeros::kInherit};
    const std::string parent = any_name();
    const std::string name = any_name();
    IngestOptions options = any_options(name);
    options.parent = path_of(parent);
    options.zeros = kZeros[input_.number(3)];
    const auto how = input_.number(8);
    options.dedup = (how & 1U) != 0 ? Dedup::kParent : Dedup::kNone;
    const bool is_full = how >= 6;
    if (is_full) options.kind = MemoryFileKind::kFull;
    Memory base = has(parent) ? snapshots_.at(parent).memory : Memory(size_);
    const bool is_stranger = input_.one_in(16);
    if (is_stranger) base = Memory(base.size + kBlockBytes);

    const MemoryFile file = write_memory_file(base);
    if (const auto kind = refusal(options, parent, name, is_stranger, file)) {
      expect_refusal(ingest(options), *kind);
      expect_memory_file(file.written, false);
      if (has(name)) expect(name);
      return;
    }
    const Memory& diff = options.zeros == Zeros::kInherit ? file.inherit : file.diff;
    expect_ingested(options, name, file, is_full ? file.full : diff, &snapshots_.at(parent));
    if (has(parent)) expect(parent);
  }

  [[nodiscard]] std::optional<ErrorKind> refusal(const IngestOptions& options,
                                                 const std::string& parent, const std::string& name,
                                                 bool is_stranger, const MemoryFile& file) const {
    const bool is_full = options.kind == MemoryFileKind::kFull;
    if (is_full && options.layout == Layout::kAdopted) return ErrorKind::kUsage;
    if (!has(parent)) return ErrorKind::kNotFound;
    if (is_stranger) return ErrorKind::kFailed;
    if (has(name) && !options.replace) return ErrorKind::kExists;
    const bool is_ambiguous = !is_full && options.zeros == Zeros::kUnspecified && !file.has_hole;
    if (is_ambiguous && file.clears_data) return ErrorKind::kFailed;
    return std::nullopt;
  }

  void merge_layers() {
    const std::string name = any_name();
    MergeOptions options;
    options.snapshot = path_of(name);
    if (input_.one_in(2)) options.layers = input_.number(5);
    const bool is_out = input_.one_in(4);
    const std::string out = is_out ? any_name() : name;
    if (is_out) options.out = path_of(out);
    if (!has(name)) return expect_refusal(merge(options), ErrorKind::kNotFound);
    if (is_out && has(out)) return expect_refusal(merge(options), ErrorKind::kExists);
    const auto before = store::open_snapshot(path_of(name));
    expect_success(before);
    const std::size_t layers = before->header.mapping.layers().size();
    if (options.layers && (*options.layers == 0 || *options.layers > layers)) {
      return expect_refusal(merge(options), ErrorKind::kUsage);
    }
    if (options.layers && *options.layers < layers && !before->layer_order_known) {
      return expect_refusal(merge(options), ErrorKind::kFailed);
    }
    const auto report = merge(options);
    expect_success(report);
    check(report->layers_before == layers && report->layers_after <= layers);
    check(options.layers || report->layers_after <= 1);
    check(report->pause_id == before->pause_id && (report->merged || !is_out));
    expect_no_notes(report->notes);
    snapshots_[out] = State(snapshots_.at(name));
    expect(out);
    if (is_out) expect(name);
  }

  void compact_by_policy() {
    constexpr const char* kPolicies[] = {"tiered:soft=2", "full:cap=2", "cap=3", "tiered", "off"};
    const std::string name = any_name();
    CompactOptions options;
    options.snapshot = path_of(name);
    options.policy = kPolicies[input_.number(5)];
    options.dry_run = input_.one_in(4);
    const auto report = compact(options);
    if (!has(name)) return expect_refusal(report, ErrorKind::kNotFound);
    expect_success(report);
    check(report->outcome != CompactOutcome::kDropped);
    check(!options.dry_run || report->outcome != CompactOutcome::kMerged);
    expect(name);
  }

  void write_as_file() {
    const std::string name = any_name();
    MaterializeOptions options;
    options.snapshot = path_of(name);
    options.out = root_ + "/out";
    if (input_.one_in(2)) options.reflink = Reflink::kNever;
    const auto report = materialize(options);
    check(fs::exists(options.out) == has(name));
    if (!has(name)) return expect_refusal(report, ErrorKind::kNotFound);
    expect_success(report);
    check(report->memory_bytes == snapshots_.at(name).memory.size);
    expect_file(options.out, snapshots_.at(name).memory);
    expect_refusal(materialize(options), ErrorKind::kExists);
    const auto verified = verify({.snapshot = path_of(name), .against = options.out});
    expect_success(verified);
    check(verified->is_intact() && verified->is_equal());
    check(verified->unchecked_blocks == 0 || !snapshots_.at(name).has_checksums);
    fs::remove(options.out);
  }

  /// Puts a changed copy in a file's place: other snapshots may link the file.
  static void replace_file(const std::string& path, std::span<const std::byte> bytes) {
    fs::remove(path);
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    check(fd >= 0);
    check(::write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
    ::close(fd);
  }
  static std::vector<std::byte> contents_of(const std::string& path) {
    std::vector<std::byte> bytes(fs::file_size(path));
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    check(fd >= 0);
    check(::read(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
    ::close(fd);
    return bytes;
  }

  /// Takes the header away, or cuts it, or changes a byte in it.
  void lose_header(const std::string& path) {
    const auto way = input_.number(3);
    if (way == 0) return static_cast<void>(fs::remove(path));
    std::vector<std::byte> bytes = contents_of(path);
    const std::size_t at = (input_.number(256) * 256U + input_.number(256)) % bytes.size();
    if (way == 1) bytes.resize(at);
    if (way == 2) bytes[at] ^= static_cast<std::byte>(1 + input_.number(255));
    replace_file(path, bytes);
  }

  void lose_and_repair() {
    const std::string name = any_name();
    const std::string path = path_of(name);
    if (!has(name)) return expect_refusal(repair(path), ErrorKind::kNotFound);
    if (!snapshots_.at(name).has_checksums) return;  // nothing to rebuild it from
    const auto before = store::open_snapshot(path);
    expect_success(before);
    const auto what = input_.number(4);  // bit 0: the header, bit 1: the facts
    if (what == 1) lose_header(path + "/" + store::kHeaderName);
    if (what == 3) fs::remove(path + "/" + store::kHeaderName);
    if ((what & 2U) != 0) fs::remove(path + "/" + store::kFactsName);
    const auto lost = store::open_snapshot(path);
    check((what & 1U) == 0 || !lost);
    if (std::vector<std::byte>& vmstate = snapshots_.at(name).vmstate;
        what == 3 && !vmstate.empty()) {
      // Nothing says any more that it belongs to this memory.
      expect_refusal(repair(path), ErrorKind::kCorrupt);
      fs::remove(path + "/" + store::kVmstateName);
      vmstate.clear();
    }
    const auto report = repair(path);
    expect_success(report);
    check(report->header_rebuilt == ((what & 1U) != 0));
    check(report->facts_rebuilt == ((what & 2U) != 0));
    const auto after = store::open_snapshot(path);
    expect_success(after);
    check(after->pause_id == before->pause_id);
    check(after->header.mapping.layers().size() == before->header.mapping.layers().size());
    expect(name);
  }

  void remove_some() {
    RemoveOptions options;
    options.dry_run = input_.one_in(4);
    std::vector<std::string> names = {any_name()};
    if (input_.one_in(2)) names.push_back(any_name());
    for (const std::string& name : names) options.snapshots.push_back(path_of(name));
    if (names.front() == names.back()) names.resize(1);
    const auto report = remove_snapshots(options);
    expect_success(report);
    check(report->snapshots.size() == names.size());
    for (std::size_t i = 0; i < names.size(); ++i) {
      const auto& error = report->snapshots[i].error;
      check(error.has_value() != has(names[i]));
      check(!error || error->kind == ErrorKind::kNotFound);
      check(fs::exists(path_of(names[i])) == (options.dry_run && has(names[i])));
      if (!options.dry_run) snapshots_.erase(names[i]);
    }
  }

  void fork() {
    const std::string source = any_name();
    const std::string name = any_name();
    const auto report = fork_snapshot({path_of(source), path_of(name)});
    if (!has(source)) return expect_refusal(report, ErrorKind::kNotFound);
    if (has(name)) return expect_refusal(report, ErrorKind::kExists);
    expect_success(report);
    expect_no_notes(report->notes);
    check(report->copied_layers == 0);
    snapshots_[name] = State(snapshots_.at(source));
    expect(name);
    expect(source);
  }

  /// As the original program would have left it: a header of version 1, layers without trailers, no
  /// facts.
  void make_foreign() {
    const std::string name = any_name();
    if (!has(name)) return;
    const auto snapshot = store::open_snapshot(path_of(name));
    expect_success(snapshot);
    for (const engine::Layer& layer : snapshot->chain.layers()) {
      if (!layer.trailer()) continue;
      const std::string path = path_of(name) + "/" + store::layer_file_name(layer.build_id());
      std::vector<std::byte> bytes = contents_of(path);
      bytes.resize(layer.trailer()->data_blocks * kBlockBytes);
      replace_file(path, bytes);
    }
    format::Header header = snapshot->header;
    header.format = HeaderFormat::kV1;
    const auto encoded = format::encode_header(header);
    expect_success(encoded);
    replace_file(path_of(name) + "/" + store::kHeaderName, *encoded);
    fs::remove(path_of(name) + "/" + store::kFactsName);
    snapshots_.at(name).has_checksums = false;
    expect(name);
  }

  /// As a resume leaves it.
  void record_working_set() {
    const std::string name = any_name();
    if (!has(name)) return;
    State& state = snapshots_.at(name);
    format::WorkingSet working_set;
    working_set.memory_bytes = state.memory.size;
    for (std::uint32_t runs = input_.number(8); runs > 0; --runs) {
      const std::uint32_t start = input_.number(state.memory.blocks());
      working_set.runs.push_back({start, 1 + input_.number(state.memory.blocks() - start)});
    }
    state.working_set = format::encode_working_set(working_set);
    replace_file(path_of(name) + "/" + store::kWorkingSetName, state.working_set);
    expect(name);
  }

  /// Changes a byte of any of a snapshot's files, or cuts it: what is read then is right or
  /// refused, and other snapshots do not notice. Then the snapshot goes.
  void damage() {
    const std::string name = any_name();
    if (!has(name) || !snapshots_.at(name).has_checksums) return;  // nothing to notice it by
    std::vector<std::string> files;
    for (const auto& entry : fs::directory_iterator(path_of(name))) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    const std::string& path = files[input_.number(static_cast<std::uint32_t>(files.size()))];
    std::vector<std::byte> bytes = contents_of(path);
    const std::size_t at =
        (input_.number(256) * 65536U + input_.number(256) * 256U + input_.number(256)) %
        bytes.size();
    if (input_.one_in(4)) {
      bytes.resize(at);
    } else {
      bytes[at] ^= static_cast<std::byte>(1 + input_.number(255));
    }
    replace_file(path, bytes);
    const auto verified = verify({.snapshot = path_of(name), .against = {}});
    const auto found = read(name);
    check(!found || is_equal(*found, snapshots_.at(name).memory.bytes));
    check(found || !verified || !verified->is_intact());
    if (repair(path_of(name))) {
      const auto repaired = read(name);
      check(!repaired || is_equal(*repaired, snapshots_.at(name).memory.bytes));
    }
    fs::remove_all(path_of(name));
    snapshots_.erase(name);
  }

  Input& input_;
  std::string root_;
  std::uint64_t size_;  ///< of memory that is ingested without a parent
  std::map<std::string, State> snapshots_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr int kMaxOperations = 12;
  static const Place place;
  Input input(std::as_bytes(std::span(data, size)));
  World world(input, place.root);
  for (int i = 0; i < kMaxOperations && !input.is_used_up(); ++i) world.operate();
  world.expect_all();
  return 0;
}
