// The public functions: they open the bucket and the tenant's key.
#include "lamina/remote.h"

#include <memory>
#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "lamina/remote_keys.h"
#include "object_store/object_store.h"
#include "object_store/remote_url.h"
#include "object_store/retrying_store.h"
#include "operations/tenant_key.h"
#include "remote/arrival_lock.h"
#include "remote/arrival_start.h"
#include "remote/bucket.h"
#include "remote/cache.h"
#include "remote/collect.h"
#include "remote/counting_store.h"
#include "remote/fetcher.h"
#include "remote/hedging_store.h"
#include "remote/key_destruction.h"
#include "remote/key_use.h"
#include "remote/names.h"
#include "remote/pull.h"
#include "remote/push.h"
#include "remote/remote_check.h"
#include "remote/remote_listing.h"
#include "remote/removal.h"
#include "remote/retention.h"
#include "remote/rotation.h"
#include "remote/unpushed.h"
#include "store/late_request_count.h"
#include "store/snapshot_use.h"

namespace lamina {
namespace {

/// An open bucket, and the key of its tenant.
struct OpenBucket {
  std::unique_ptr<object_store::ObjectStore> store;
  std::unique_ptr<packed::KeyWrapper> tenant;
};

/// Counts the requests if `requests` is not null; it must then outlive the bucket.
Result<OpenBucket> open_bucket(const std::string& url, const std::string& key_file = {},
                               const std::string& key_command = {},
                               RemoteRequests* requests = nullptr) {
  OpenBucket opened;
  const object_store::Environment environment = object_store::process_environment();
  LAMINA_ASSIGN_OR_RETURN(const object_store::RemoteUrl parsed,
                          object_store::parse_remote_url(url, environment));
  LAMINA_ASSIGN_OR_RETURN(opened.tenant, operations::open_tenant_key(key_file, key_command));
  LAMINA_ASSIGN_OR_RETURN(auto plain, object_store::open_remote(parsed, environment));
  if (requests != nullptr) {
    plain =
        remote::make_counting_store(std::move(plain), remote::CountedLayer::kAttempts, *requests);
  }
  LAMINA_ASSIGN_OR_RETURN(opened.store, object_store::make_retrying_store(std::move(plain), {}));
  if (requests != nullptr) {
    opened.store = remote::make_counting_store(std::move(opened.store),
                                               remote::CountedLayer::kRequests, *requests);
  }
  return opened;
}

Result<FetchReport> fetch_locked(remote::LockedArrival& locked, RemoteRequests* requests,
                                 Progress* progress) {
  const store::ArrivalFacts& facts = locked.arrival.facts;
  LAMINA_ASSIGN_OR_RETURN(const OpenBucket opened,
                          open_bucket(facts.url, facts.key_file, facts.key_command, requests));
  return remote::fetch_arrival(*opened.store, locked.arrival, opened.tenant.get(), progress);
}

/// A pull of a snapshot that is arriving.
Result<PullReport> complete(remote::LockedArrival& locked, const PullOptions& options) {
  PullReport report = remote::report_of(locked.arrival);
  LAMINA_ASSIGN_OR_RETURN(FetchReport fetched,
                          fetch_locked(locked, options.requests, options.progress));
  report.snapshot = std::move(fetched.snapshot);
  report.fetched_bytes = fetched.fetched_bytes;
  report.notes = std::move(fetched.notes);
  return report;
}

/// The same as remote::bound_cache_of_pull(), for a pull that has not opened the bucket.
void bound_cache_after(const PullOptions& options, PullReport& report) {
  if (!options.cache_bytes) return;
  const auto opened = open_bucket(options.url, {}, {}, options.requests);
  if (opened) return remote::bound_cache_of_pull(*opened->store, options, 0, report);
  report.notes.push_back("the cache was not bounded: " + one_line(opened.error()));
}

/// A VM waits: requests whose answers are late are sent a second time.
Result<LazyPullReport> pull_without_delay(object_store::ObjectStore& store,
                                          const LazyPullOptions& options,
                                          packed::KeyWrapper* tenant) {
  LateRequests late;
  const auto hedging = remote::make_hedging_store(store, late);
  auto report = remote::pull_lazily(*hedging, options, tenant);
  // Without these counts, only a metric is too low.
  static_cast<void>(store::LateRequestCount(options.pull.store).store(late));
  return report;
}

constexpr int kBeginAttempts = 3;

Result<LazyPullReport> begin_pull_once(const LazyPullOptions& options) {
  LAMINA_ASSIGN_OR_RETURN(auto known, remote::known_pull(options.pull));
  if (known) {
    bound_cache_after(options.pull, known->pull);
    return std::move(*known);
  }
  LAMINA_RETURN_IF_ERROR(remote::check_recorded(options));
  LAMINA_ASSIGN_OR_RETURN(const OpenBucket opened,
                          open_bucket(options.pull.url, options.pull.key_file,
                                      options.pull.key_command, options.pull.requests));
  auto report = pull_without_delay(*opened.store, options, opened.tenant.get());
  if (!report) return report;
  remote::bound_cache_of_pull(*opened.store, options.pull, 0, report->pull);
  return report;
}

}  // namespace

Result<PushReport> push_snapshot(const PushOptions& options) {
  return contain("push", [&]() -> Result<PushReport> {
    LAMINA_ASSIGN_OR_RETURN(
        const OpenBucket opened,
        open_bucket(options.url, options.key_file, options.key_command, options.requests));
    return remote::push(*opened.store, options, opened.tenant.get());
  });
}

Result<std::vector<UnpushedState>> list_unpushed(const UnpushedOptions& options) {
  return contain("list", [&]() -> Result<std::vector<UnpushedState>> {
    LAMINA_ASSIGN_OR_RETURN(
        const object_store::RemoteUrl parsed,
        object_store::parse_remote_url(options.url, object_store::process_environment()));
    return remote::unpushed_states(options, object_store::name_of_remote(parsed));
  });
}

Result<Uuid> read_bucket_id(const BucketIdOptions& options) {
  return contain("read of the bucket's id", [&]() -> Result<Uuid> {
    LAMINA_ASSIGN_OR_RETURN(const OpenBucket opened,
                            open_bucket(options.url, {}, {}, options.requests));
    remote::Bucket bucket(*opened.store, options.progress);
    auto id = bucket.id();
    if (id || id.error().kind != ErrorKind::kNotFound) return id;
    Error absence = bucket.absence_of(std::string(remote::kFormatKey));
    if (absence.kind == ErrorKind::kNotFound) return Uuid{};
    return std::unexpected(std::move(absence));
  });
}

bool matches_pattern(const std::string& name, const std::string& pattern) {
  return remote::matches_pattern(name, pattern);
}

Result<PullReport> pull_snapshot(const PullOptions& options) {
  return contain("pull", [&]() -> Result<PullReport> {
    LAMINA_ASSIGN_OR_RETURN(auto arrival, remote::wait_for_arrival(options));
    if (arrival) {
      LAMINA_ASSIGN_OR_RETURN(PullReport report, complete(*arrival, options));
      bound_cache_after(options, report);
      return report;
    }
    LAMINA_ASSIGN_OR_RETURN(
        const OpenBucket opened,
        open_bucket(options.url, options.key_file, options.key_command, options.requests));
    LAMINA_ASSIGN_OR_RETURN(PullReport report,
                            remote::pull(*opened.store, options, opened.tenant.get()));
    remote::bound_cache_of_pull(*opened.store, options, 0, report);
    return report;
  });
}

Result<LazyPullReport> begin_pull(const LazyPullOptions& options) {
  return contain("pull", [&]() -> Result<LazyPullReport> {
    for (int attempt = 1;; ++attempt) {
      auto report = begin_pull_once(options);
      const bool is_last = attempt == kBeginAttempts;
      // Another process may have pulled it meanwhile.
      if (!report && report.error().kind == ErrorKind::kExists && !is_last) continue;
      if (!report) return report;
      if (!report->hold) {
        LAMINA_ASSIGN_OR_RETURN(report->hold, hold_for_resume(report->pull.snapshot));
      }
      // Another process may have evicted what was pulled before it was held.
      if (report->hold || is_last) return report;
    }
  });
}

Result<CacheReport> bound_cache(const CacheOptions& options) {
  return contain("evict", [&]() -> Result<CacheReport> {
    LAMINA_ASSIGN_OR_RETURN(const OpenBucket opened,
                            open_bucket(options.url, {}, {}, options.requests));
    return remote::bound_cache(*opened.store, {.store = options.store,
                                               .limit_bytes = options.limit_bytes,
                                               .keep = options.keep,
                                               .progress = options.progress});
  });
}

Result<std::shared_ptr<const void>> hold_for_resume(const std::string& path) {
  return contain("hold", [&]() -> Result<std::shared_ptr<const void>> {
    LAMINA_ASSIGN_OR_RETURN(auto held, store::hold_snapshot(path));
    if (!held) return nullptr;
    return std::make_shared<os::LockedFd>(std::move(*held));
  });
}

Result<FetchReport> fetch_arriving(const FetchOptions& options) {
  return contain("fetch", [&]() -> Result<FetchReport> {
    LAMINA_ASSIGN_OR_RETURN(remote::LockedArrival locked,
                            remote::lock_arrival(options.store, options.arrival));
    return fetch_locked(locked, options.requests, options.progress);
  });
}

Result<RemoteListReport> list_remote(const RemoteListOptions& options) {
  return contain("list", [&]() -> Result<RemoteListReport> {
    LAMINA_ASSIGN_OR_RETURN(const OpenBucket opened, open_bucket(options.url));
    return remote::list(*opened.store, options);
  });
}

Result<RemoteUseReport> use_of_remote(const RemoteUseOptions& options) {
  return contain("du", [&]() -> Result<RemoteUseReport> {
    LAMINA_ASSIGN_OR_RETURN(const OpenBucket opened, open_bucket(options.url));
    return remote::use(*opened.store, options);
  });
}

Result<RemoteRemoveReport> remove_remote(const RemoteRemoveOptions& options) {
  return contain("remove", [&]() -> Result<RemoteRemoveReport> {
    LAMINA_ASSIGN_OR_RETURN(const OpenBucket opened, open_bucket(options.url));
    return remote::remove_name(*opened.store, options);
  });
}

Result<PruneReport> prune_remote(const PruneOptions& options) {
  return contain("prune", [&]() -> Result<PruneReport> {
    LAMINA_ASSIGN_OR_RETURN(const OpenBucket opened, open_bucket(options.url));
    return remote::prune(*opened.store, options);
  });
}

Result<RemoteVerifyReport> verify_remote(const RemoteVerifyOptions& options) {
  return contain("verify", [&]() -> Result<RemoteVerifyReport> {
    LAMINA_ASSIGN_OR_RETURN(const OpenBucket opened,
                            open_bucket(options.url, options.key_file, options.key_command));
    return remote::verify(*opened.store, options, opened.tenant.get());
  });
}

Result<RemoteKeysReport> list_remote_keys(const RemoteKeysOptions& options) {
  return contain("list", [&]() -> Result<RemoteKeysReport> {
    LAMINA_ASSIGN_OR_RETURN(const OpenBucket opened, open_bucket(options.url, options.key_file));
    return remote::list_keys(*opened.store, options, opened.tenant.get());
  });
}

Result<RotateKeyReport> rotate_remote_key(const RotateKeyOptions& options) {
  return contain("rotate", [&]() -> Result<RotateKeyReport> {
    LAMINA_ASSIGN_OR_RETURN(const auto before, operations::open_tenant_key(
                                                   options.old_key_file, options.old_key_command));
    LAMINA_ASSIGN_OR_RETURN(const OpenBucket opened,
                            open_bucket(options.url, options.key_file, options.key_command));
    if (!before || !opened.tenant) {
      return with_remedy(fail(ErrorKind::kUsage, "a rotation needs the old key and the new one"),
                         "set `old_key_file` or `old_key_command`, and `key_file` or "
                         "`key_command`");
    }
    return remote::rotate_key(*opened.store, options, *before, *opened.tenant);
  });
}

Result<DestroyKeyReport> destroy_remote_key(const DestroyKeyOptions& options) {
  return contain("destroy", [&]() -> Result<DestroyKeyReport> {
    LAMINA_ASSIGN_OR_RETURN(const OpenBucket opened, open_bucket(options.url));
    return remote::destroy_key(*opened.store, options);
  });
}

}  // namespace lamina
