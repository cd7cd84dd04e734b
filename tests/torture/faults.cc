// Every call of an operation fails in turn, in every way that it may.
#include <cerrno>
#include <cstring>

#include <algorithm>
#include <map>
#include <random>

#include "trial.h"

namespace lamina::torture {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kShort = 0;

/// How a call may fail.
std::vector<int> effects_of(const std::string& call) {
  if (call == "read") return {EIO, kShort};
  if (call == "write" || call == "copy") return {EIO, ENOSPC, EDQUOT, kShort};
  if (call == "lookup") return {EIO, EACCES};
  if (call == "lseek" || call == "readdir") return {EIO};
  if (call == "open" || call == "opendir") return {EIO, EACCES, EMFILE};
  if (call == "fsync") return {EIO, ENOSPC, EDQUOT};
  return {EIO, ENOSPC, EDQUOT, EACCES};
}

class Faults {
 public:
  Faults(const Scene& scene, const TrialOptions& options)
      : scene_(scene), options_(options), trial_(scene, options) {}

  TrialReport run() {
    const auto started = Clock::now();
    trial_.record();
    const std::map<std::string, std::uint64_t> calls = calls_of_operation();
    std::uint64_t count = 0;
    std::vector<Fault> faults;
    for (const auto& [call, number] : calls) {
      count += number;
      for (std::uint64_t i = 1; i <= number; ++i) {
        for (const int effect : effects_of(call)) faults.push_back({call, i, effect});
      }
    }
    // When the time is up, some of all calls have been tried.
    std::mt19937_64 generator(options_.seed);
    std::shuffle(faults.begin(), faults.end(), generator);
    for (const Fault& fault : faults) {
      if (Clock::now() >= options_.deadline || !trial_.worker().is_alive()) {
        report_.is_complete = false;
        break;
      }
      try_one(fault);
    }
    report_.figures = {count, runs_, errors_, successes_};
    report_.seconds = std::chrono::duration<double>(Clock::now() - started).count();
    return std::move(report_);
  }

 private:
  std::map<std::string, std::uint64_t> calls_of_operation() {
    trial_.mount().show(trial_.base());
    trial_.mount().start_recording();
    trial_.worker().call(Task::kOperate);
    auto calls = trial_.mount().calls();
    trial_.mount().stop_recording();
    return calls;
  }

  void try_one(const Fault& fault) {
    trial_.mount().show(trial_.base());
    trial_.mount().arm(fault);
    const Answer outcome = trial_.worker().call(Task::kOperate);
    const bool happened = trial_.mount().disarm();
    if (!happened) return;
    ++runs_;
    ++(outcome.ok ? successes_ : errors_);
    if (!outcome.ok) check_message(fault, outcome.text);
    if (!outcome.ok && fault.error == kShort) violated(fault, "it fails: " + outcome.text);
    Progress progress;
    progress.done = outcome.ok;
    const Answer after = trial_.worker().call(Task::kCheck, progress);
    if (!after.ok) violated(fault, after.text + " (it said: " + outcome.text + ")");
  }

  void check_message(const Fault& fault, const std::string& message) {
    std::string reason = std::strerror(fault.error);
    std::transform(reason.begin(), reason.end(), reason.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    std::string lower = message;
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    const bool names_object = message.find('\'') != std::string::npos;
    const bool names_reason = fault.error == kShort || lower.find(reason) != std::string::npos;
    if (names_object && names_reason) return;
    violated(fault, "an unclear error: " + message);
  }

  void violated(const Fault& fault, const std::string& what) {
    ++report_.violations;
    if (report_.lines.size() >= TrialReport::kMaxLines) return;
    report_.lines.push_back(
        std::string(scene_.name) + ": " + fault.call + " number " + std::to_string(fault.number) +
        ", " + (fault.error == kShort ? "short" : std::strerror(fault.error)) + ": " + what);
  }

  const Scene& scene_;
  const TrialOptions& options_;
  Trial trial_;
  std::uint64_t runs_ = 0;
  std::uint64_t errors_ = 0;
  std::uint64_t successes_ = 0;
  TrialReport report_;
};

}  // namespace

TrialReport try_faults(const Scene& scene, const TrialOptions& options) {
  return Faults(scene, options).run();
}

}  // namespace lamina::torture
