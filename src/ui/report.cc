#include "ui/report.h"

#include <fcntl.h>

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "base/error.h"
#include "lamina/listing.h"
#include "os/directory.h"
#include "os/path_walk.h"
#include "schema/json.h"
#include "ui/page.h"
#include "ui/plain_tables.h"
#include "ui/snapshot_model.h"
#include "ui/store_model.h"

namespace lamina::ui {
namespace {

using schema::Json;

bool is_snapshot(const std::string& path) {
  return os::name_exists(AT_FDCWD, path + "/memfile.header") ||
         os::name_exists(AT_FDCWD, path + "/snapshot.json");
}

/// A snapshot with what a merge would give; that may be unknown.
Result<Json> whole_snapshot(const StoreListing& listing, const std::string& name) {
  LAMINA_ASSIGN_OR_RETURN(Json snapshot, snapshot_json(listing, name));
  const auto merge = merge_json(listing.path, name);
  snapshot["merge"] = merge ? *merge : Json(nullptr);
  return snapshot;
}

Result<Report> report_of_snapshot(const std::string& path) {
  const std::string store = os::parent_of(path);
  const std::string name = path.substr(path.rfind('/') + 1);
  LAMINA_ASSIGN_OR_RETURN(const StoreListing listing, list_store(store));
  LAMINA_ASSIGN_OR_RETURN(const Json snapshot, whole_snapshot(listing, name));
  const Json data = {{"store", nullptr}, {"only", name}, {"snapshots", {{name, snapshot}}}};
  return Report{
      report_page(name + " - lamina", schema::json_text(data, -1), snapshot_tables(snapshot)), 1,
      1};
}

/// The indices of the snapshots with the most own bytes.
std::vector<std::size_t> largest(const StoreListing& listing, std::size_t count) {
  std::vector<std::size_t> order(listing.snapshots.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::sort(order, [&](std::size_t a, std::size_t b) {
    return std::pair(listing.snapshots[b].own_bytes, a) <
           std::pair(listing.snapshots[a].own_bytes, b);
  });
  order.resize(std::min(order.size(), count));
  return order;
}

Result<Report> report_of_store(const ReportOptions& options, const std::string& path) {
  ListOptions with_dead;
  with_dead.dead_bytes = true;
  LAMINA_ASSIGN_OR_RETURN(const StoreListing listing, list_store(path, with_dead));
  Report report;
  report.listed = listing.snapshots.size();
  std::string tables = store_tables(listing, Links::kNo);
  Json snapshots = Json::object();
  for (const std::size_t index : largest(listing, options.snapshots)) {
    const std::string& name = listing.snapshots[index].name;
    const auto snapshot = whole_snapshot(listing, name);
    if (!snapshot) continue;  // the list says what is wrong with it
    tables += snapshot_tables(*snapshot);
    snapshots[name] = *snapshot;
    ++report.snapshots;
  }
  const Json data = {
      {"store", store_json(listing)}, {"only", nullptr}, {"snapshots", std::move(snapshots)}};
  report.html = report_page(path.substr(path.rfind('/') + 1) + " - lamina",
                            schema::json_text(data, -1), tables);
  return report;
}

}  // namespace

Result<Report> make_report(const ReportOptions& options) {
  LAMINA_ASSIGN_OR_RETURN(const std::string path, os::real_path(options.path));
  return is_snapshot(path) ? report_of_snapshot(path) : report_of_store(options, path);
}

}  // namespace lamina::ui
