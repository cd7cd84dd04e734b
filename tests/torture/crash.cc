// Every state that a power failure may leave, one after the other.
//
// An operation is recorded once. All states of the model are made of the record, and those that are
// the same but for how they came about are taken once. lamina is let loose on each.
//
// Then, for a sample of them, the power fails again while they are recovered from: the recovery is
// recorded in its turn. And for a sample of moments the process is killed there, which loses
// nothing, another recovers or is given the same command, and then the power fails: with what the
// first had not synced.
#include <algorithm>
#include <random>
#include <set>

#include "trial.h"

namespace lamina::torture {
namespace {

using Clock = std::chrono::steady_clock;

/// How many states, in parts of all, a second failure is tried on.
constexpr std::size_t kSecondFailures = 12;
constexpr std::size_t kKills = 6;
constexpr std::size_t kRandomOfSecond = 3;

struct Case {
  CrashState state;
  Progress progress;
};

/// A record, and what is known after so many of it.
struct Timeline {
  History history;
  std::size_t first = 0;  ///< states before so many records are not looked at
  Progress at_first;      ///< what holds from the beginning
  /// Until so many records nothing is promised. After all of them the operation has returned.
  std::size_t recorded_after = SIZE_MAX;
  bool done_at_end = true;

  [[nodiscard]] Progress progress_after(std::size_t records) const {
    Progress progress = at_first;
    progress.done |= done_at_end && records == history.records.size();
    progress.recorded |= records >= recorded_after;
    return progress;
  }
};

/// A pause's acknowledgement is on the disk: the second journal has its name, which is synced.
std::size_t when_recorded(const History& history) {
  int journals = 0;
  for (std::size_t i = 0; i < history.records.size(); ++i) {
    const Record& record = history.records[i];
    if (record.what == "rename store/.pending/ID.json.new to store/.pending/ID.json") ++journals;
    if (journals >= 2 && record.what == "fsync store/.pending") return i + 1;
  }
  return SIZE_MAX;
}

class Crashes {
 public:
  Crashes(const Scene& scene, const TrialOptions& options)
      : scene_(scene), options_(options), trial_(scene, options) {}

  TrialReport run() {
    const auto started = Clock::now();
    Timeline timeline;
    timeline.history = trial_.record();
    timeline.recorded_after = when_recorded(timeline.history);
    const auto& records = timeline.history.records;
    const auto syncs = static_cast<std::uint64_t>(std::count_if(
        records.begin(), records.end(), [](const Record& r) { return r.synced != kNoInode; }));
    if (options_.drop_syncs) {
      drop_each_sync(timeline);
    } else if (options_.only_kills) {
      take_share(1);
      try_kills(timeline);
    } else {
      take_share(0.25);
      const std::vector<Case> cases = cases_of(timeline, std::nullopt, options_.random_states);
      take_share(0.25);
      try_second_failures(timeline, cases);
      take_share(0.25);
      try_kills(timeline);
      take_share(1);
      try_all(timeline.history, cases, "");
    }
    report_.figures = {records.size() - syncs, syncs, states_};
    report_.seconds = std::chrono::duration<double>(Clock::now() - started).count();
    return std::move(report_);
  }

 private:
  /// The states of a timeline that have not been seen yet, in a random order.
  std::vector<Case> cases_of(const Timeline& timeline, std::optional<std::size_t> ignored_sync,
                             std::size_t random) {
    const Model model(timeline.history, ignored_sync);
    std::vector<Case> cases;
    std::mt19937_64 generator(options_.seed);
    std::vector<std::size_t> moments;
    for (std::size_t i = timeline.first; i < timeline.history.records.size(); ++i) {
      moments.push_back(i);
    }
    std::shuffle(moments.begin(), moments.end(), generator);
    // Those at the end first: what must hold there is more.
    moments.insert(moments.begin(), timeline.history.records.size());
    for (const std::size_t records : moments) {
      if (!has_time()) break;
      const Progress progress = timeline.progress_after(records);
      model.visit_states(records, options_.seed, random, [&](CrashState state) {
        const std::uint64_t hash = model.disk_of(state).hash();
        const std::uint64_t promises = (progress.done ? 1U : 0U) + (progress.recorded ? 2U : 0U) +
                                       (progress.done && !progress.again ? 4U : 0U);
        for (std::uint64_t more = promises; more < 8; ++more) {
          if ((more & promises) == promises && seen_.contains({hash, more})) return;
        }
        seen_.insert({hash, promises});
        cases.push_back({std::move(state), progress});
      });
    }
    std::shuffle(cases.begin(), cases.end(), generator);
    return cases;
  }

  /// What follows may take so much of the time that is left.
  void take_share(double share) {
    until_ = options_.deadline;
    if (until_ == Clock::time_point::max()) return;
    const auto now = Clock::now();
    until_ = now + std::chrono::duration_cast<Clock::duration>((until_ - now) * share);
  }

  [[nodiscard]] bool has_time() {
    if (Clock::now() < until_ && trial_.worker().is_alive()) return true;
    report_.is_complete = false;
    return false;
  }

  void try_all(const History& history, const std::vector<Case>& cases, const std::string& when) {
    const Model model(history);
    for (const Case& one : cases) {
      if (!has_time()) return;
      try_one(model, one, when);
    }
  }

  bool try_one(const Model& model, const Case& one, const std::string& when) {
    trial_.mount().show(model.disk_of(one.state));
    const Answer answer = trial_.worker().call(Task::kCheck, one.progress);
    ++states_;
    if (!answer.ok) violated(model, one, when, answer.text);
    return answer.ok;
  }

  void violated(const Model& model, const Case& one, const std::string& when,
                const std::string& what) {
    ++report_.violations;
    if (report_.lines.size() >= TrialReport::kMaxLines) return;
    std::string text = std::string(scene_.name) + ": " + when + "power failure after " +
                       std::to_string(one.state.records) + " operations" +
                       (one.progress.done ? " (returned)" : "") + ", " + one.state.what +
                       (one.state.zero_fill ? ", zeros" : "") +
                       ". lost: " + model.losses_of(one.state) + ". found: " + what;
    report_.lines.push_back(std::move(text));
  }

  /// The power fails while a state is recovered from.
  void try_second_failures(const Timeline& timeline, const std::vector<Case>& cases) {
    const Model model(timeline.history);
    for (std::size_t i = 0; i < std::min(kSecondFailures, cases.size()) && has_time(); ++i) {
      const Case& one = cases[i];
      const std::string when = "after " + std::to_string(one.state.records) + " operations (" +
                               one.state.what + ", lost: " + model.losses_of(one.state) +
                               "), recovered: ";
      trial_.mount().show(model.disk_of(one.state));
      trial_.mount().start_recording();
      const Answer answer = trial_.worker().call(Task::kRecover);
      Timeline second;
      second.history = trial_.mount().stop_recording();
      if (!answer.ok) {
        violated(model, one, "", answer.text);
        continue;
      }
      second.at_first = one.progress;
      second.done_at_end = answer.text == "after";
      try_all(second.history, cases_of(second, std::nullopt, kRandomOfSecond), when);
    }
  }

  /// Before each sync, where most is unsynced that a recovery may take for done. Unless only kills
  /// are tried, also after each rename, which is where the promises change, and some others.
  [[nodiscard]] std::vector<std::size_t> kill_moments(const std::vector<Record>& records) const {
    std::mt19937_64 generator(options_.seed);
    std::set<std::size_t> moments;
    const std::size_t others = options_.only_kills ? 0 : kKills;
    for (std::size_t i = 0; i < others; ++i) moments.insert(generator() % records.size());
    for (std::size_t i = 0; i < records.size(); ++i) {
      const std::string& what = records[i].what;
      if (records[i].synced != kNoInode) moments.insert(i);
      if (options_.only_kills) continue;
      if (what.starts_with("rename") || what.starts_with("exchange")) moments.insert(i + 1);
    }
    std::vector<std::size_t> shuffled(moments.begin(), moments.end());
    std::shuffle(shuffled.begin(), shuffled.end(), generator);
    return shuffled;
  }

  /// The process is killed, another recovers the store, and then the power fails.
  void try_kills(const Timeline& timeline) {
    const Model model(timeline.history);
    const std::vector<std::size_t> moments = kill_moments(timeline.history.records);
    for (std::size_t i = 0; i < moments.size() && has_time(); ++i) {
      const std::size_t killed = moments[i];
      CrashState all{killed, std::vector<bool>(model.parts().size(), true), false, "killed"};
      trial_.mount().show(model.disk_of(all));
      trial_.mount().start_recording();
      // Either somebody recovers the store, or the same command is given again.
      const bool again = i % 2 == 1 && !scene_.has_vm;
      const Answer answer = trial_.worker().call(again ? Task::kOperate : Task::kRecover);
      const History recovery = trial_.mount().stop_recording();
      if (!answer.ok) {
        // What the killed one has published need not be given again.
        if (!again) violated(model, {all, {}}, "", answer.text);
        continue;
      }
      Timeline second = timeline;
      second.first = killed;
      // What was neither acknowledged nor recorded may be seen and be gone again.
      second.done_at_end = again;
      second.at_first.again = again;
      if (second.recorded_after > killed) second.recorded_after = SIZE_MAX;
      second.history.records.resize(killed);
      second.history.records.insert(second.history.records.end(), recovery.records.begin(),
                                    recovery.records.end());
      try_all(second.history, cases_of(second, std::nullopt, kRandomOfSecond),
              "killed after " + std::to_string(killed) + " operations, " +
                  (again ? "given again: " : "recovered: "));
    }
  }

  std::string verdict(bool is_needed, const std::string& why, std::size_t tried,
                      std::size_t states) {
    if (is_needed) return "needed: " + why;
    if (!has_time()) return "not tried: the time is up";
    if (states == 0) return "leaves no state that is not there with it: others cover the same";
    return "not missed in " + std::to_string(tried) + " of " + std::to_string(states) + " states";
  }

  void drop_each_sync(const Timeline& timeline) {
    cases_of(timeline, std::nullopt, options_.random_states);  // those are known to be right
    until_ = options_.deadline;
    const auto& records = timeline.history.records;
    for (std::size_t i = 0; i < records.size(); ++i) {
      if (records[i].synced == kNoInode) continue;
      const std::vector<Case> cases = cases_of(timeline, i, options_.random_states);
      const Model model(timeline.history, i);
      std::size_t tried = 0;
      bool is_needed = false;
      std::vector<std::string> lines = std::move(report_.lines);
      report_.lines.clear();
      for (const Case& one : cases) {
        if (!has_time() || is_needed) break;
        ++tried;
        is_needed = !try_one(model, one, "");
      }
      std::string why = report_.lines.empty() ? "" : report_.lines.front();
      report_.lines = std::move(lines);
      const std::size_t found = why.find(". found: ");
      if (found != std::string::npos) why = why.substr(found + 9);
      report_.lines.push_back("  " + std::to_string(i) + "  " + records[i].what + ": " +
                              verdict(is_needed, why, tried, cases.size()));
    }
  }

  const Scene& scene_;
  const TrialOptions& options_;
  Trial trial_;
  std::set<std::pair<std::uint64_t, std::uint64_t>> seen_;
  std::uint64_t states_ = 0;
  Clock::time_point until_ = Clock::time_point::max();
  TrialReport report_;
};

}  // namespace

TrialReport try_crashes(const Scene& scene, const TrialOptions& options) {
  return Crashes(scene, options).run();
}

TrialReport try_kills(const Scene& scene, const TrialOptions& options) {
  TrialOptions killing = options;
  killing.only_kills = true;
  return Crashes(scene, killing).run();
}

TrialReport try_without_syncs(const Scene& scene, const TrialOptions& options) {
  TrialOptions dropping = options;
  dropping.drop_syncs = true;
  return Crashes(scene, dropping).run();
}

}  // namespace lamina::torture
