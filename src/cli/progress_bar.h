#pragma once

#include <cstdint>
#include <string>

#include "lamina/progress.h"

namespace lamina::cli {

/// Makes SIGINT, SIGTERM and SIGHUP ask running operations to stop, once for the process. A second
/// signal of the kind ends the process at once.
void install_interrupt_handler();

/// Draws a progress bar on stderr when that is a terminal and the work takes longer than a moment,
/// and tells operations when a signal asked to stop.
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
