#include "daemon/push_queue.h"

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>

namespace lamina::daemon {
namespace {

constexpr std::chrono::milliseconds kFirstDelay{1000};
constexpr std::uint32_t kMaxDoublings = 30;

}  // namespace

void PushQueue::add(const Found& state, TimePoint now) {
  const auto [at, is_new] = entries_.try_emplace(state.name);
  Kept& kept = at->second;
  kept.is_gone = false;
  if (is_new) {
    kept.entry.name = state.name;
    kept.entry.since = state.since;
  } else if (kept.entry.pause_id == state.pause_id) {
    return;
  } else if (kept.entry.state == PushState::kPushing) {
    if (!kept.newer) kept.newer = state.since;
  } else if (kept.entry.state == PushState::kFailed) {
    kept.entry.state = PushState::kWaiting;
    kept.entry.attempts = 0;
    kept.entry.error.reset();
    kept.entry.next_attempt = now;
  }
  kept.entry.pause_id = state.pause_id;
  kept.added = now;
  if (is_new) kept.entry.next_attempt = now;
}

void PushQueue::remove(const std::string& name) {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return;
  if (found->second.entry.state == PushState::kPushing) {
    found->second.is_gone = true;
  } else {
    entries_.erase(found);
  }
}

void PushQueue::update(const std::vector<Found>& states, TimePoint read) {
  std::set<std::string> names;
  for (const Found& state : states) {
    names.insert(state.name);
    const auto known = entries_.find(state.name);
    // A pause after the list was read has a newer state.
    if (known != entries_.end() && known->second.added >= read) continue;
    const auto pushed = pushed_.find(state.name);
    const bool was_pushed = pushed != pushed_.end() && pushed->second.when >= read &&
                            pushed->second.pause_id == state.pause_id;
    if (was_pushed) continue;
    add(state, read);
  }
  std::erase_if(entries_, [&](const auto& one) {
    const Kept& kept = one.second;
    return kept.entry.state != PushState::kPushing && kept.added < read &&
           !names.contains(one.first);
  });
  std::erase_if(pushed_, [&](const auto& one) { return one.second.when < read; });
}

std::optional<PushQueue::Entry> PushQueue::take(TimePoint now) {
  Entry* oldest = nullptr;
  for (auto& [name, kept] : entries_) {
    Entry& entry = kept.entry;
    if (entry.state != PushState::kWaiting || entry.next_attempt > now) continue;
    if (oldest == nullptr || entry.since < oldest->since) oldest = &entry;
  }
  if (oldest == nullptr) return std::nullopt;
  oldest->state = PushState::kPushing;
  return *oldest;
}

std::optional<PushQueue::TimePoint> PushQueue::next_time() const {
  std::optional<TimePoint> next;
  for (const auto& [name, kept] : entries_) {
    if (kept.entry.state != PushState::kWaiting) continue;
    if (!next || kept.entry.next_attempt < *next) next = kept.entry.next_attempt;
  }
  return next;
}

void PushQueue::done(const Entry& taken, const Uuid& pushed, TimePoint now) {
  pushed_[taken.name] = {pushed, now};
  const auto found = entries_.find(taken.name);
  if (found == entries_.end()) return;
  Kept& kept = found->second;
  const bool is_latest = kept.entry.pause_id == taken.pause_id || kept.entry.pause_id == pushed;
  if (kept.is_gone || is_latest) {
    entries_.erase(found);
    return;
  }
  kept.entry.state = PushState::kWaiting;
  kept.entry.attempts = 0;
  kept.entry.error.reset();
  kept.entry.since = kept.newer.value_or(kept.added);
  kept.entry.next_attempt = kept.added;
  kept.newer.reset();
}

void PushQueue::failed(const Entry& taken, const Error& error, Retry retry, TimePoint now,
                       double random) {
  const auto found = entries_.find(taken.name);
  if (found == entries_.end()) return;
  Kept& kept = found->second;
  if (kept.is_gone) {
    entries_.erase(found);
    return;
  }
  Entry& entry = kept.entry;
  const bool is_replaced = entry.pause_id != taken.pause_id;
  kept.newer.reset();
  entry.error = error;
  if (retry == Retry::kNever) {
    entry.state = is_replaced ? PushState::kWaiting : PushState::kFailed;
    entry.attempts = is_replaced ? 0 : entry.attempts + 1;
    entry.next_attempt = now;
    return;
  }
  // A newer state waits too: what failed was the bucket.
  entry.state = PushState::kWaiting;
  const auto doubled = kFirstDelay * (std::int64_t{1} << std::min(entry.attempts, kMaxDoublings));
  ++entry.attempts;
  const auto delay = std::min<std::chrono::milliseconds>(doubled, longest_delay_);
  entry.next_attempt =
      now + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double, std::milli>(
                static_cast<double>(delay.count()) * (1 - random / 2)));
}

void PushQueue::retry_failed(TimePoint now) {
  for (auto& [name, kept] : entries_) {
    if (kept.entry.state != PushState::kFailed) continue;
    kept.entry.state = PushState::kWaiting;
    kept.entry.attempts = 0;
    kept.entry.next_attempt = now;
  }
}

void PushQueue::pushed(const std::string& name, const Uuid& pause_id, TimePoint now) {
  pushed_[name] = {pause_id, now};
  const auto found = entries_.find(name);
  if (found == entries_.end() || found->second.entry.pause_id != pause_id) return;
  if (found->second.entry.state != PushState::kPushing) entries_.erase(found);
}

std::vector<PushQueue::Entry> PushQueue::entries() const {
  std::vector<Entry> entries;
  entries.reserve(entries_.size());
  for (const auto& [name, kept] : entries_) entries.push_back(kept.entry);
  std::ranges::sort(entries, {}, [](const Entry& entry) {
    return std::pair(entry.since, std::string_view(entry.name));
  });
  return entries;
}

std::size_t PushQueue::waiting() const {
  return static_cast<std::size_t>(std::ranges::count_if(
      entries_, [](const auto& one) { return one.second.entry.state != PushState::kFailed; }));
}

PushQueue::Clock::duration PushQueue::oldest_age(TimePoint now) const {
  Clock::duration oldest{};
  for (const auto& [name, kept] : entries_) oldest = std::max(oldest, now - kept.entry.since);
  return oldest;
}

}  // namespace lamina::daemon
