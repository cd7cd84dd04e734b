#include "object_store/credential_cache.h"

namespace lamina::object_store {
namespace {

/// Fetched in the background from then on, and not used for the last seconds: a request takes time.
constexpr std::chrono::minutes kRenewBefore{5};
constexpr std::chrono::seconds kUnusableBefore{20};
constexpr std::chrono::seconds kBetweenAttempts{30};

}  // namespace

void CredentialCache::get(HttpPool& pool, CredentialSource::Completion completion) {
  const std::chrono::sys_seconds now = clock_();
  const bool expires = current_ && current_->expires;
  if (current_ && (!expires || now < *current_->expires - kUnusableBefore)) {
    const bool renews = expires && now >= *current_->expires - kRenewBefore;
    const Credentials usable = *current_;
    if (renews && !is_fetching_ && now >= next_background_fetch_) fetch(pool);
    completion(usable);
    return;
  }
  waiting_.push_back(std::move(completion));
  if (!is_fetching_) fetch(pool);
}

void CredentialCache::fetch(HttpPool& pool) {
  is_fetching_ = true;
  next_background_fetch_ = clock_() + kBetweenAttempts;
  source_->fetch(pool, [this](Result<Credentials> fetched) { take(std::move(fetched)); });
}

void CredentialCache::take(Result<Credentials> fetched) {
  is_fetching_ = false;
  if (fetched) current_ = *fetched;
  const std::vector<CredentialSource::Completion> waiting = std::exchange(waiting_, {});
  for (const CredentialSource::Completion& completion : waiting) completion(fetched);
}

}  // namespace lamina::object_store
