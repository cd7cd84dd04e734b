// Writing a merged file of runs of 1 to 16 blocks that are in memory: gathered to 1 MiB and written
// in order (ours), each run at its place in random order, with the storage set aside first or not;
// and when the bytes go to the disk: at the one fsync at the end (ours), or pushed every 8 MiB. All
// end with an fsync.
#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <random>
#include <vector>

#include "base/block.h"
#include "base/error.h"
#include "bench.h"
#include "os/file.h"
#include "storage_suspects.h"
#include "suspect_files.h"

namespace lamina::bench {
namespace {

constexpr std::uint64_t kSeed = 9;
constexpr std::uint64_t kGatherBytes = std::uint64_t{1} << 20;
constexpr std::uint64_t kPushBytes = std::uint64_t{8} << 20;
constexpr std::uint64_t kRoomBytes = std::uint64_t{512} << 20;

struct Run {
  std::uint64_t offset;
  std::uint64_t bytes;
};

/// The runs, and the bytes that they make.
struct Merged {
  std::vector<std::byte> bytes;
  std::vector<Run> in_order;
  std::vector<Run> shuffled;

  explicit Merged(std::uint64_t size) : bytes(size) {
    std::mt19937_64 random(kSeed);
    for (std::size_t i = 0; i < size; i += sizeof(std::uint64_t)) {
      const std::uint64_t word = random();
      std::memcpy(&bytes[i], &word, sizeof(word));
    }
    for (std::uint64_t offset = 0; offset < size;) {
      const std::uint64_t length = std::min((1 + random() % 16) * kBlockBytes, size - offset);
      in_order.push_back({offset, length});
      offset += length;
    }
    shuffled = in_order;
    std::shuffle(shuffled.begin(), shuffled.end(), random);
  }
};

enum class Order : std::uint8_t { kGathered, kInOrder, kShuffled };
enum class Allocation : std::uint8_t { kAsWritten, kFirst };
enum class Push : std::uint8_t { kNever, kStart, kWait };

struct Way {
  std::string name;
  Order order = Order::kGathered;
  Allocation allocation = Allocation::kAsWritten;
  Push push = Push::kNever;
};

class WriteContenders {
 public:
  WriteContenders(const Place& place, const Merged& merged) : place_(place), merged_(merged) {}

  [[nodiscard]] const std::vector<std::string>& notes() const { return notes_; }

  Contender make(const Way& way) {
    return {way.name, [this] { return settle(place_.directory); },
            [this, way]() -> Status {
              LAMINA_ASSIGN_OR_RETURN(const os::Fd file, create_file(path()));
              if (way.allocation == Allocation::kFirst) {
                LAMINA_RETURN_IF_ERROR(os::allocate(file.get(), merged_.bytes.size(), path()));
              }
              LAMINA_RETURN_IF_ERROR(way.order == Order::kGathered ? write_gathered(file.get(), way)
                                                                   : write_runs(file.get(), way));
              return os::sync(file.get(), path());
            },
            [this, way] { return check(way.name); }, [this] { return remove_all(path()); }};
  }

 private:
  [[nodiscard]] std::string path() const { return place_.directory + "/merged"; }

  /// As the merge does: each run copied into a buffer, that written when it is full.
  Status write_gathered(int fd, const Way& way) const {
    std::vector<std::byte> buffer(kGatherBytes);
    std::uint64_t end = 0;
    std::uint64_t used = 0;
    for (const Run& run : merged_.in_order) {
      for (std::uint64_t done = 0; done < run.bytes;) {
        const std::uint64_t part = std::min(run.bytes - done, kGatherBytes - used);
        std::memcpy(&buffer[used], &merged_.bytes[run.offset + done], part);
        done += part;
        used += part;
        if (used < kGatherBytes) continue;
        LAMINA_RETURN_IF_ERROR(os::write_at(fd, buffer, end, path()));
        end += used;
        used = 0;
        if (end % kPushBytes == 0) LAMINA_RETURN_IF_ERROR(push(fd, end - kPushBytes, way.push));
      }
    }
    return os::write_at(fd, std::span(buffer).first(used), end, path());
  }

  /// Starts to write what is dirty; when it also waits, then for the piece before, so that the disk
  /// is never idle.
  Status push(int fd, std::uint64_t offset, Push push) const {
    if (push == Push::kNever) return {};
    if (::sync_file_range(fd, static_cast<off64_t>(offset), kPushBytes, SYNC_FILE_RANGE_WRITE) !=
        0) {
      return system_failure("sync_file_range", path(), errno);
    }
    if (push == Push::kStart || offset == 0) return {};
    constexpr unsigned kAll =
        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    if (::sync_file_range(fd, static_cast<off64_t>(offset - kPushBytes), kPushBytes, kAll) != 0) {
      return system_failure("sync_file_range", path(), errno);
    }
    return {};
  }

  Status write_runs(int fd, const Way& way) const {
    for (const Run& run : way.order == Order::kShuffled ? merged_.shuffled : merged_.in_order) {
      const auto bytes = std::span(merged_.bytes).subspan(run.offset, run.bytes);
      LAMINA_RETURN_IF_ERROR(os::write_at(fd, bytes, run.offset, path()));
    }
    return {};
  }

  Status check(const std::string& name) {
    LAMINA_ASSIGN_OR_RETURN(const os::Fd file, open_file(path(), O_RDONLY));
    std::vector<std::byte> read(merged_.bytes.size());
    LAMINA_RETURN_IF_ERROR(os::read_exactly_at(file.get(), read, 0, path()));
    if (read != merged_.bytes) return fail(ErrorKind::kCorrupt, "other bytes than were written");
    LAMINA_ASSIGN_OR_RETURN(const std::string storage, describe_storage(path()));
    notes_.push_back(fmt::format("{}: {}", name, storage));
    return {};
  }

  const Place& place_;
  const Merged& merged_;
  std::vector<std::string> notes_;
};

Status compare_ways(Bench& bench, Comparison comparison, const Place& place, const Merged& merged,
                    const std::vector<Way>& ways) {
  WriteContenders contenders(place, merged);
  comparison.bytes = merged.bytes.size();
  for (const Way& way : ways) comparison.contenders.push_back(contenders.make(way));
  LAMINA_RETURN_IF_ERROR(bench.run(comparison));
  for (const std::string& note : contenders.notes()) bench.note(note);
  return {};
}

}  // namespace

Status run_write_suspects(Bench& bench) {
  const std::vector<Way> orders = {
      {.name = "ours"},
      {.name = "run-by-run", .order = Order::kInOrder},
      {.name = "random", .order = Order::kShuffled},
      {.name = "fallocate", .allocation = Allocation::kFirst},
      {.name = "fallocate-random", .order = Order::kShuffled, .allocation = Allocation::kFirst}};
  const std::vector<Way> pushes = {
      {.name = "ours"},
      {.name = "push", .push = Push::kStart},
      {.name = "push-wait", .push = Push::kWait},
      {.name = "fallocate-push", .allocation = Allocation::kFirst, .push = Push::kStart}};
  const std::uint64_t bytes = bench.memory_bytes() / 4;
  const Merged merged(bytes);
  LAMINA_RETURN_IF_ERROR(with_each_place(
      bench, "suspect-write-order", 2 * bytes + kRoomBytes, [&](const Place& place) {
        Comparison comparison;
        comparison.name = "suspect-write-order/" + place.name;
        comparison.what = fmt::format(
            "{} runs written and synced: gathered, at random, allocated "
            "first",
            merged.in_order.size());
        return compare_ways(bench, std::move(comparison), place, merged, orders);
      }));
  return with_each_place(
      bench, "suspect-write-sync", 2 * bytes + kRoomBytes, [&](const Place& place) {
        Comparison comparison;
        comparison.name = "suspect-write-sync/" + place.name;
        comparison.what = "gathered writes: one fsync, or sync_file_range every 8 MiB before it";
        return compare_ways(bench, std::move(comparison), place, merged, pushes);
      });
}

}  // namespace lamina::bench
