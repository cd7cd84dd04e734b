#include "rot.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <map>
#include <stdexcept>

#include "base/error.h"
#include "damaged_snapshot.h"
#include "format/working_set.h"
#include "lamina/merge.h"
#include "lamina/verify.h"
#include "memory_files.h"
#include "os/file.h"
#include "os/sparse_file.h"
#include "store/snapshot_directory.h"

namespace lamina::torture {
namespace {

using Clock = std::chrono::steady_clock;

/// What else reads a snapshot is let loose on one of so many states.
constexpr std::size_t kStatesPerDerivation = 61;
/// The same of files that are read whole by all of it.
constexpr std::size_t kSmallStatesPerDerivation = 4;

struct Subject {
  std::string_view name;
  Layout layout = Layout::kCompact;
  HeaderFormat header = HeaderFormat::kNative;
  bool is_merged = false;
  bool is_exchanged = false;
};

constexpr std::array<Subject, 6> kSubjects{{
    {"compact"},
    {"adopted", Layout::kAdopted},
    {"merged", Layout::kAdopted, HeaderFormat::kNative, true},
    {"version-1", Layout::kCompact, HeaderFormat::kV1},
    {"version-3", Layout::kAdopted, HeaderFormat::kV3},
    {"exchanged", Layout::kAdopted, HeaderFormat::kNative, false, true},
}};

void expect(const Status& status, const char* what) {
  if (!status) throw std::runtime_error(std::string(what) + ": " + status.error().message);
}

/// base <- middle <- vm, "vm" with a VM state and a working set; returns the memory of "vm". Other
/// snapshots' names begin with `prefix`.
Memory build(Stage& stage, const Subject& subject, const std::string& prefix) {
  Memory memory = first_memory(stage);
  const auto add = [&](const std::string& name, const std::string& parent) {
    IngestOptions options;
    options.memory_file = stage.file("tmp");
    options.snapshot = stage.snapshot(prefix + name);
    options.layout = subject.layout;
    options.consume = true;
    options.header = subject.header;
    if (parent.empty()) {
      expect(write_full(options.memory_file, memory), "write");
    } else {
      options.parent = stage.snapshot(prefix + parent);
      const Pages dirty = change(memory, stage);
      expect(write_diff(options.memory_file, memory, dirty), "write");
    }
    if (name == "vm") {
      const Memory state(3000, static_cast<char>(stage.random()));
      expect(write_full(stage.file(prefix + "state"), state), "write");
      options.vmstate_file = stage.file(prefix + "state");
    }
    expect(status_of(ingest(options)), "ingest");
  };
  add("base", "");
  add("middle", "base");
  add("vm", "middle");
  if (subject.is_merged) {
    MergeOptions options;
    options.snapshot = stage.snapshot(prefix + "vm");
    options.layers = 2;
    expect(status_of(merge(options)), "merge");
  }
  expect(store_working_set(stage, prefix + "vm", 5), "working set");
  return memory;
}

/// A file that is damaged in place, and its contents.
class Victim {
 public:
  explicit Victim(const std::filesystem::path& path)
      : name_(path.filename()), path_(path), contents_(contents()) {
    auto opened = os::open_at(AT_FDCWD, path_, O_RDWR, path_);
    expect(status_of(opened), "open");
    fd_ = std::move(*opened);
    auto extents = os::written_ranges(fd_.get(), contents_.size(), path_);
    expect(status_of(extents), "extents");
    extents_ = std::move(*extents);
  }

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const std::string& before() const { return contents_; }
  [[nodiscard]] const std::vector<ByteRange>& extents() const { return extents_; }
  [[nodiscard]] std::string contents() const {
    auto read = contents_of(path_);
    expect(status_of(read), "read");
    return *read;
  }

  void write(std::uint64_t offset, std::string_view bytes) const {
    expect(os::write_at(fd_.get(), std::as_bytes(std::span(bytes)), offset, path_), "damage");
  }
  void cut(std::uint64_t length) const { expect(os::truncate(fd_.get(), length, path_), "damage"); }
  /// Gives the bytes from `offset` on back.
  void restore(std::uint64_t offset, std::uint64_t length) const {
    cut(contents_.size());
    const std::uint64_t end = std::min<std::uint64_t>(offset + length, contents_.size());
    for (const ByteRange& extent : extents_) {
      const std::uint64_t from = std::max(offset, extent.offset);
      const std::uint64_t to = std::min(end, extent.offset + extent.length);
      if (from < to) write(from, std::string_view(contents_).substr(from, to - from));
    }
  }

 private:
  std::string name_;
  std::string path_;
  std::string contents_;
  os::Fd fd_;
  std::vector<ByteRange> extents_;
};

enum class DamageKind : std::uint8_t { kChangedByte, kCut, kLostBlock, kOtherBlock };

struct Damage {
  std::uint32_t victim = 0;
  DamageKind kind = DamageKind::kChangedByte;
  std::uint64_t offset = 0;
};

class Rot {
 public:
  Rot(const Subject& subject, const TrialOptions& options)
      : subject_(subject), options_(options), random_(options.seed) {
    stage_.top = options.outside + "/rot";
    stage_.store = stage_.top + "/store";
    stage_.outside = options.outside;
    stage_.random.seed(options.seed);
    std::filesystem::create_directories(stage_.store);
    memory_ = build(stage_, subject, "");
  }

  TrialReport run() {
    const auto began = Clock::now();
    Derivation derivation(stage_, snapshot(), memory_);
    derivation_ = &derivation;
    if (subject_.is_exchanged) {
      exchange_all();
    } else {
      damage_all();
    }
    report_.figures = {bytes_, states_, refused_, stopped_, harmless_};
    report_.seconds = std::chrono::duration<double>(Clock::now() - began).count();
    return report_;
  }

 private:
  [[nodiscard]] std::string snapshot() const { return stage_.snapshot("vm"); }

  bool is_late() {
    if (Clock::now() < options_.deadline) return false;
    report_.is_complete = false;
    return true;
  }

  // --- in place

  void damage_all() {
    for (const auto& entry : std::filesystem::directory_iterator(snapshot())) {
      victims_.emplace_back(entry.path());
    }
    std::vector<Damage> damages = all_damages();
    // In random order, so that a part of them is a sample.
    std::shuffle(damages.begin(), damages.end(), random_);
    for (const Damage& damage : damages) {
      if (is_late()) return;
      try_one(damage);
    }
  }

  std::vector<Damage> all_damages() {
    std::vector<Damage> damages;
    for (std::uint32_t i = 0; i < victims_.size(); ++i) {
      const std::uint64_t size = victims_[i].before().size();
      for (const ByteRange& extent : victims_[i].extents()) {
        bytes_ += extent.length;
        for (std::uint64_t at = extent.offset; at < extent.offset + extent.length; ++at) {
          damages.push_back({i, DamageKind::kChangedByte, at});
          if (at % kPageBytes != 0) continue;
          damages.push_back({i, DamageKind::kLostBlock, at});
          damages.push_back({i, DamageKind::kOtherBlock, at});
        }
      }
      for (std::uint64_t length = 0; length < size; ++length) {
        damages.push_back({i, DamageKind::kCut, length});
      }
    }
    return damages;
  }

  void try_one(const Damage& damage) {
    const Victim& victim = victims_[damage.victim];
    const std::uint64_t length = apply(damage);
    if (length == 0) return;
    ++states_;
    const Status checked = check(victim.name(), victim.contents());
    if (!checked) violated(describe(damage), checked.error().message);
    victim.restore(damage.offset, length);
  }

  /// The number of bytes from the damage's offset on that may have changed; 0: none.
  std::uint64_t apply(const Damage& damage) {
    const Victim& victim = victims_[damage.victim];
    const std::string& before = victim.before();
    const std::uint64_t rest = before.size() - damage.offset;
    const std::uint64_t block = std::min<std::uint64_t>(kPageBytes, rest);
    switch (damage.kind) {
      case DamageKind::kChangedByte: {
        const int change = 1 + static_cast<int>(random_() % 255);
        const auto byte = static_cast<unsigned char>(before[damage.offset]);
        victim.write(damage.offset, std::string(1, static_cast<char>(byte ^ change)));
        return 1;
      }
      case DamageKind::kCut:
        victim.cut(damage.offset);
        return rest;
      case DamageKind::kLostBlock:
        return replace(victim, damage.offset, std::string(block, '\0'));
      case DamageKind::kOtherBlock: {
        const std::uint64_t blocks = before.size() / kPageBytes;
        if (blocks == 0) return 0;
        const std::uint64_t other = random_() % blocks * kPageBytes;
        return replace(victim, damage.offset, before.substr(other, block));
      }
    }
    return 0;
  }

  static std::uint64_t replace(const Victim& victim, std::uint64_t offset,
                               const std::string& bytes) {
    if (victim.before().compare(offset, bytes.size(), bytes) == 0) return 0;
    victim.write(offset, bytes);
    return bytes.size();
  }

  [[nodiscard]] std::string describe(const Damage& damage) const {
    static constexpr std::array<const char*, 4> kNames{"changed byte", "cut", "lost block",
                                                       "other block"};
    return victims_[damage.victim].name() + ", " +
           kNames.at(static_cast<std::size_t>(damage.kind)) + " at " +
           std::to_string(damage.offset);
  }

  // --- files in others' places

  void exchange_all() {
    build(stage_, subject_, "other-");
    std::vector<std::filesystem::path> all;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(stage_.store)) {
      const std::string area = entry.path().lexically_relative(stage_.store).string();
      if (entry.is_regular_file() && !area.starts_with('.')) all.push_back(entry.path());
    }
    const std::filesystem::path kept = stage_.file("kept");
    for (const auto& entry : std::filesystem::directory_iterator(snapshot())) {
      const std::filesystem::path& place = entry.path();
      // By names, for layers have more than one.
      std::filesystem::rename(place, kept);
      for (const std::filesystem::path& other : all) {
        if (is_late()) break;
        if (other != place) try_in_place_of(place, other, kept);
      }
      std::filesystem::rename(kept, place);
    }
  }

  void try_in_place_of(const std::filesystem::path& place, const std::filesystem::path& other,
                       const std::filesystem::path& kept) {
    const auto before = contents_of(kept);
    const auto contents = contents_of(other);
    if (!before || !contents || *before == *contents) return;
    std::filesystem::copy_file(other, place);
    ++states_;
    bytes_ += contents->size();
    const Status checked = check(place.filename(), *contents);
    if (!checked) {
      violated(place.filename().string() + " is " + other.lexically_relative(stage_.store).string(),
               checked.error().message);
    }
    std::filesystem::remove(place);
  }

  // --- what must hold

  Status check(const std::string& name, const std::string& contents) {
    LAMINA_ASSIGN_OR_RETURN(const Outcome outcome, read_damaged(snapshot(), memory_));
    ++(outcome == Outcome::kRefused   ? refused_
       : outcome == Outcome::kStopped ? stopped_
                                      : harmless_);
    if (outcome != Outcome::kRefused) {
      LAMINA_RETURN_IF_ERROR(check_verify(outcome, name));
    }
    if (name == store::kWorkingSetName && !subject_.is_exchanged &&
        format::decode_working_set(std::as_bytes(std::span(contents)))) {
      return fail(ErrorKind::kFailed, "the working set is taken for a whole one");
    }
    const bool is_small =
        name == store::kHeaderName || name == store::kFactsName || subject_.is_exchanged;
    if (states_ % (is_small ? kSmallStatesPerDerivation : kStatesPerDerivation) != 0) return {};
    // The facts may contradict a header that is right: which is, a person must say.
    return derivation_->check(name == store::kHeaderName && !subject_.is_exchanged);
  }

  Status check_verify(Outcome outcome, const std::string& name) {
    VerifyOptions options;
    options.snapshot = snapshot();
    LAMINA_ASSIGN_OR_RETURN(const VerifyReport report, verify(options));
    // The facts may have the digest.
    const bool of_vmstate = name == store::kVmstateName;
    if (report.vmstate_corrupt != of_vmstate && name != store::kFactsName) {
      return fail(ErrorKind::kFailed, "verify says the VM state is {}",
                  of_vmstate ? "right" : "wrong");
    }
    if (outcome == Outcome::kStopped && report.corrupt_live_blocks == 0) {
      return fail(ErrorKind::kFailed, "verify finds nothing");
    }
    return {};
  }

  void violated(const std::string& damage, const std::string& what) {
    ++report_.violations;
    if (report_.lines.size() >= TrialReport::kMaxLines) return;
    report_.lines.push_back(std::string(subject_.name) + ": " + damage + ": " + what);
  }

  const Subject& subject_;
  const TrialOptions& options_;
  Stage stage_;
  std::mt19937_64 random_;
  Memory memory_;
  Derivation* derivation_ = nullptr;
  std::vector<Victim> victims_;
  std::uint64_t bytes_ = 0;
  std::uint64_t states_ = 0;
  std::uint64_t refused_ = 0;
  std::uint64_t stopped_ = 0;
  std::uint64_t harmless_ = 0;
  TrialReport report_;
};

}  // namespace

std::vector<std::string_view> rot_subjects() {
  std::vector<std::string_view> names;
  for (const Subject& subject : kSubjects) names.push_back(subject.name);
  return names;
}

TrialReport try_rot(std::string_view subject, const TrialOptions& options) {
  const auto* found = std::find_if(kSubjects.begin(), kSubjects.end(),
                                   [&](const Subject& one) { return one.name == subject; });
  return Rot(*found, options).run();
}

}  // namespace lamina::torture
