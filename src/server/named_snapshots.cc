#include "server/named_snapshots.h"

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "os/poll.h"

namespace lamina::server {
namespace {

using Clock = std::chrono::steady_clock;

/// A start that fails waits for so long at most for snapshots that are read still.
constexpr std::chrono::seconds kLongestAfterFailure{10};
constexpr int kFailurePollMs = 100;

class NamedOpening {
 public:
  NamedOpening(const std::vector<ServeEndpoint>& endpoints, Snapshots& snapshots,
               Openings& openings)
      : snapshots_(snapshots),
        openings_(openings),
        outcomes_(std::make_shared<Outcomes>(endpoints.size())) {
    for (std::size_t i = 0; i < endpoints.size(); ++i) begin(i, endpoints[i].snapshot);
  }

  [[nodiscard]] bool is_done() const {
    return std::all_of(outcomes_->begin(), outcomes_->end(),
                       [](const Outcome& one) { return one.has_value(); });
  }

  /// The first failure in the order given, among those that are known.
  [[nodiscard]] const Error* failure() const {
    for (const Outcome& one : *outcomes_) {
      if (one && !*one) return &one->error();
    }
    return nullptr;
  }

  /// Waits until a further one is open or has failed; not longer than `longest_ms`, and perhaps
  /// shorter.
  void wait(int longest_ms) {
    pollfd opened{openings_.fd(), POLLIN, 0};
    if (os::wait_for_events({&opened, 1}, longest_ms).value_or(false)) openings_.handle();
  }

  /// REQUIRES: is_done().
  std::vector<Result<Service>> take() {
    std::vector<Result<Service>> services;
    services.reserve(outcomes_->size());
    for (Outcome& one : *outcomes_) {
      if (*one) snapshots_.keep_named(**one);
      services.push_back(std::move(*one));
    }
    return services;
  }

 private:
  using Outcome = std::optional<Result<Service>>;
  using Outcomes = std::vector<Outcome>;

  void begin(std::size_t i, const std::string& path) {
    auto request = snapshots_.request_for_named(path);
    if (!request) {
      (*outcomes_)[i] = Result<Service>(std::unexpected(request.error()));
      return;
    }
    const std::weak_ptr<Outcomes> wanted = outcomes_;
    openings_.open(std::move(*request), [wanted, i](Result<Service> service) {
      if (const auto outcomes = wanted.lock()) (*outcomes)[i] = std::move(service);
    });
  }

  Snapshots& snapshots_;
  Openings& openings_;
  /// Callbacks of openings that come after this is gone find it gone.
  std::shared_ptr<Outcomes> outcomes_;
};

}  // namespace

Result<std::vector<Service>> open_named_snapshots(const std::vector<ServeEndpoint>& endpoints,
                                                  Snapshots& snapshots, Openings& openings) {
  NamedOpening opening(endpoints, snapshots, openings);
  while (!opening.is_done() && opening.failure() == nullptr) opening.wait(-1);
  const Clock::time_point until = Clock::now() + kLongestAfterFailure;
  while (!opening.is_done() && Clock::now() < until) opening.wait(kFailurePollMs);
  if (const Error* failure = opening.failure()) return std::unexpected(*failure);
  std::vector<Service> services;
  for (Result<Service>& one : opening.take()) services.push_back(std::move(*one));
  return services;
}

std::vector<Result<Service>> try_named_snapshots(const std::vector<ServeEndpoint>& endpoints,
                                                 Snapshots& snapshots, Openings& openings) {
  NamedOpening opening(endpoints, snapshots, openings);
  while (!opening.is_done()) opening.wait(-1);
  return opening.take();
}

}  // namespace lamina::server
