#pragma once

#include <cstdint>
#include <string>

#include "lamina/progress.h"

namespace lamina::cli {

/// Draws a progress bar on stderr when that is a terminal and the work takes longer than a moment,
/// and tells the operation when a signal asked to stop: from the first bar on SIGINT, SIGTERM and
/// SIGHUP do no more than that, but for a second one of the kind, which ends the process at once. A
/// verb without a bar, which would not ask, is ended by the first.
class ProgressBar : public Progress {
 public:
  ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  ProgressBar(ProgressBar&&) = delete;
  ProgressBar& operator=(ProgressBar&&) = delete;
  ~ProgressBar() override;

  void begin(std::string_view phase, std::uint64_t total_bytes) override;
  void advance(std::uint64_t bytes) override;
  [[nodiscard]] bool interrupted() override;

  /// Removes the bar, so that what is printed next starts on a clean line.
  void clear();

 private:
  void draw();

  bool on_terminal_;
  bool drawn_ = false;
  std::string phase_;
  std::uint64_t total_bytes_ = 0;
  std::uint64_t done_bytes_ = 0;
  std::uint64_t next_draw_ms_ = 0;
};

}  // namespace lamina::cli
