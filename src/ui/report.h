// lamina report: the console's pictures of a store or a snapshot in one file.
#pragma once

#include <cstddef>
#include <string>

#include "lamina/result.h"

namespace lamina::ui {

struct ReportOptions {
  std::string path;  ///< a snapshot or a store
  /// Of a store, so many snapshots are shown with their memory: those with the most own bytes. All
  /// are listed.
  std::size_t snapshots = 20;
};

struct Report {
  std::string html;
  std::size_t snapshots = 0;  ///< that are shown with their memory
  std::size_t listed = 0;
};

/// Only reads. The page needs no network, and its scripts are the only ones that it runs.
/// kNotFound: `path` is neither; kCorrupt: the snapshot (damaged snapshots of a store are listed as
/// such).
Result<Report> make_report(const ReportOptions& options);

}  // namespace lamina::ui
