#include <algorithm>
#include <memory>
#include <utility>

#include "base/contain.h"
#include "base/error.h"
#include "lamina/remote.h"
#include "object_store/probe.h"
#include "object_store/remote_url.h"

namespace lamina {
namespace {

Result<RemoteCheckReport> check_store(const std::string& url, Progress* progress) {
  const object_store::Environment environment = object_store::process_environment();
  LAMINA_ASSIGN_OR_RETURN(const object_store::RemoteUrl parsed,
                          object_store::parse_remote_url(url, environment));
  LAMINA_ASSIGN_OR_RETURN(const std::unique_ptr<object_store::ObjectStore> store,
                          object_store::open_remote(parsed, environment));
  LAMINA_ASSIGN_OR_RETURN(object_store::ProbeReport probed, object_store::probe(*store, progress));
  RemoteCheckReport report{
      .store = std::move(probed.store), .checks = {}, .left_behind = std::move(probed.left_behind)};
  if (probed.clock_difference) report.clock_difference_s = probed.clock_difference->count();
  for (object_store::ProbeCheck& check : probed.checks) {
    report.checks.push_back(RemoteCheck{.name = std::move(check.name),
                                        .meaning = std::move(check.what),
                                        .passed = check.passed,
                                        .detail = std::move(check.detail)});
  }
  return report;
}

}  // namespace

bool RemoteCheckReport::is_usable() const {
  return std::ranges::all_of(checks, &RemoteCheck::passed);
}

Result<RemoteCheckReport> check_remote(const std::string& url, Progress* progress) {
  return contain("check of an object store", [&] { return check_store(url, progress); });
}

}  // namespace lamina
