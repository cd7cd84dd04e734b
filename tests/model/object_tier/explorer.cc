#include "explorer.h"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <utility>

namespace lamina::object_tier_model {

namespace {

/// The states so far, numbered in the order of their discovery, and how each was reached.
class States {
 public:
  States() : table_(kFirstSlots) {}

  [[nodiscard]] std::uint32_t size() const { return size_; }
  [[nodiscard]] const World& at(std::uint32_t index) const {
    return (*chunks_[index / kPerChunk])[index % kPerChunk];
  }
  [[nodiscard]] std::uint32_t parent(std::uint32_t index) const { return parents_[index]; }

  /// True: it is new.
  bool add(const World& world, std::uint32_t parent) {
    if ((std::uint64_t{size_} + 1) * 5 > table_.size() * 3) grow();
    const std::uint64_t hash = XXH3_64bits(&world, sizeof world);
    std::uint64_t& slot = table_[find(world, hash)];
    if (slot != 0) return false;
    slot = entry(hash, size_);
    if (size_ % kPerChunk == 0) chunks_.push_back(std::make_unique<Chunk>());
    (*chunks_.back())[size_ % kPerChunk] = world;
    parents_.push_back(parent);
    ++size_;
    return true;
  }

 private:
  static constexpr std::uint32_t kPerChunk = 1U << 14;
  static constexpr std::size_t kFirstSlots = std::size_t{1} << 16;
  using Chunk = std::array<World, kPerChunk>;

  // A slot: the upper half of the hash, index + 1. The upper half also says where a slot moves to,
  // so that growing does not read the states.
  static std::uint64_t entry(std::uint64_t hash, std::uint32_t index) {
    return (hash & ~std::uint64_t{0xffffffff}) | (index + 1);
  }

  [[nodiscard]] std::size_t first_slot(std::uint64_t hash) const {
    return (hash >> 32) & (table_.size() - 1);
  }

  [[nodiscard]] std::size_t find(const World& world, std::uint64_t hash) const {
    std::size_t slot = first_slot(hash);
    for (; table_[slot] != 0; slot = (slot + 1) & (table_.size() - 1)) {
      if ((table_[slot] >> 32) != (hash >> 32)) continue;
      const auto index = static_cast<std::uint32_t>(table_[slot]) - 1;
      if (std::memcmp(&at(index), &world, sizeof world) == 0) break;
    }
    return slot;
  }

  void grow() {
    std::vector<std::uint64_t> old(table_.size() * 2);
    old.swap(table_);
    for (const std::uint64_t moved : old) {
      if (moved == 0) continue;
      std::size_t slot = first_slot(moved);
      while (table_[slot] != 0) slot = (slot + 1) & (table_.size() - 1);
      table_[slot] = moved;
    }
  }

  std::vector<std::unique_ptr<Chunk>> chunks_;
  std::vector<std::uint32_t> parents_;
  std::vector<std::uint64_t> table_;
  std::uint32_t size_ = 0;
};

/// All actors have ended, or are collectors between two cycles.
bool has_ended(const World& world) {
  for (const Actor actor :
       {Actor::kFirstPusher, Actor::kSecondPusher, Actor::kRemover, Actor::kPuller}) {
    if (runs(world, actor)) return false;
  }
  for (const Collector& collector : world.collectors) {
    if (collector.step != CollectStep::kEnded && collector.step != CollectStep::kChoose)
      return false;
  }
  return true;
}

bool has_record(const World& world, int record) {
  for (int name = 0; name < kNames; ++name) {
    for (int number = 1; number <= kHighestNumber; ++number) {
      if (world.bucket.record(name, number) == record) return true;
    }
  }
  return false;
}

bool has_late_manifest(const World& world) {
  for (int index = 0; index < kLateRequests; ++index) {
    const Request request = world.late.at(index);
    if (request.verb() == Verb::kPutRecord && is_manifest(request.third())) return true;
  }
  return false;
}

/// Of a state in which all actors have ended: nearly all that occurs leaves a trace in one.
void note(const World& world, Seen& seen) {
  for (int push = 0; push < kPushes; ++push) {
    if (!world.history.acknowledged(push)) continue;
    seen.acknowledged[push] = true;
    if (push % kAttempts > 0) seen.second_attempt_acknowledged = true;
    if (world.object_of(push, 0) != 0 && world.object_of(push, 0) != kNoObject) {
      seen.uploaded_anew = true;
    }
  }
  for (const Pusher& pusher : world.pushers) {
    if (pusher.outcome == Outcome::kConflict) seen.conflict = true;
  }
  if (!world.made.within(world.bucket.objects)) seen.collected = true;
  if (has_record(world, kVoid)) seen.void_stored = true;
  if (world.history.stored_removal()) seen.removal_stored = true;
  if (has_late_manifest(world)) seen.late_manifest = true;
  for (const Small tombstone : world.bucket.tombstones) {
    if (tombstone > 0) seen.dead_tombstone = true;
  }
  if (world.puller.seen != 0) seen.pull_ended = true;
}

/// The steps to a state, and the violating one after it.
std::vector<std::string> trace_to(const Config& config, const States& states, std::uint32_t last) {
  std::vector<std::uint32_t> path;
  for (std::uint32_t index = last;; index = states.parent(index)) {
    path.push_back(index);
    if (index == 0) break;
  }
  std::reverse(path.begin(), path.end());
  std::vector<std::string> trace;
  std::vector<Successor> successors;
  for (std::size_t step = 0; step + 1 < path.size(); ++step) {
    expand(config, states.at(path[step]), successors);
    const World& wanted = states.at(path[step + 1]);
    const auto found =
        std::find_if(successors.begin(), successors.end(), [&](const Successor& next) {
          return std::memcmp(&next.world, &wanted, sizeof wanted) == 0;
        });
    if (found != successors.end()) trace.push_back(describe(found->event));
  }
  return trace;
}

class Explorer {
 public:
  Explorer(const Config& config, std::uint64_t limit, Violation only)
      : config_(config), limit_(limit), only_(only) {}

  Search run() {
    states_.add(initial_world(config_), 0);
    std::uint32_t level_end = 1;
    for (std::uint32_t index = 0; index < states_.size(); ++index) {
      if (index == level_end) {
        level_end = states_.size();
        ++search_.depth;
      }
      if (states_.size() >= limit_) {
        search_.complete = false;
        break;
      }
      if (visit(index)) break;
    }
    search_.states = states_.size();
    return std::move(search_);
  }

 private:
  /// True: a violation was found.
  bool visit(std::uint32_t index) {
    const World world = states_.at(index);
    expand(config_, world, successors_);
    search_.steps += successors_.size();
    if (has_ended(world)) {
      note(world, search_.seen);
      if (report(check_ended(config_, world), index, nullptr)) return true;
    } else if (successors_.empty()) {
      if (report(Violation::kStuck, index, nullptr)) return true;
    }
    for (const Successor& next : successors_) {
      const bool is_new = states_.add(next.world, index);
      if (report(next.violation, index, &next.event)) return true;
      if (report(check_step(world, next.world), index, &next.event)) return true;
      if (is_new && report(check(config_, next.world), index, &next.event)) return true;
    }
    return false;
  }

  bool report(Violation violation, std::uint32_t index, const Event* event) {
    if (violation == Violation::kNone) return false;
    if (only_ != Violation::kNone && violation != only_) return false;
    search_.violation = violation;
    search_.trace = trace_to(config_, states_, index);
    if (event != nullptr) search_.trace.push_back(describe(*event));
    return true;
  }

  const Config& config_;
  std::uint64_t limit_;
  Violation only_;
  States states_;
  std::vector<Successor> successors_;
  Search search_;
};

}  // namespace

Search explore(const Config& config, std::uint64_t limit, Violation only) {
  return Explorer(config, limit, only).run();
}

}  // namespace lamina::object_tier_model
